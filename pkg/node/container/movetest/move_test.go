package movetest

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate"
)

const (
	address = "10.79.0.5"
	redis   = address + ":6379"
)

// lan is two hosts, a and b, and a network between them on which the test itself is the client.
type lan struct {
	t    *testing.T
	a, b *host
	next int // attempt
	c    cluster.Container
}

func newLAN(t *testing.T, template string) *lan {
	t.Helper()
	criu := os.Getenv("VZ_CRIU")
	if criu == "" {
		criu = "/opt/vz/criu/bin/criu"
	}
	templates := os.Getenv("VZ_TEMPLATES")
	if templates == "" {
		templates = "/var/cache/vzcluster/templates"
	}
	tar := filepath.Join(templates, template+".tar")
	for _, f := range []string{criu, tar} {
		if _, err := os.Stat(f); err != nil {
			t.Skipf("%v: run make deps", err)
		}
	}
	shell(t, "ip link set lo up; ip link add lan address 02:00:00:00:79:01 type bridge forward_delay 0; ip addr add 10.79.0.1/24 dev lan; ip link set lan up")
	t.Cleanup(func() { shell(t, "ip link del lan") })
	l := &lan{t: t, a: newHost(t, "a", criu), b: newHost(t, "b", criu)}
	l.c = cluster.Container{CTID: "101", Node: "a", Epoch: 1, Want: cluster.WantRunning, RunGen: 1, IDBase: 1000000,
		Spec: cluster.Spec{Template: template, Resources: cluster.Resources{MemoryBytes: 512 << 20}, NumProc: 200,
			Net: cluster.Network{MAC: "02:76:7a:00:00:05", Addresses: []string{address + "/24", "fd79::5/64"}}}}
	at := migrate.Attempt{Container: l.c}
	l.a.must("create", at, dir(tar))
	l.a.must("start", at)
	t.Cleanup(func() {
		for _, h := range []*host{l.a, l.b} {
			if h.conn == nil {
				continue
			}
			rep := h.must("copies", migrate.Attempt{})
			for _, c := range rep.Copies {
				h.must("remove", migrate.Attempt{Container: cluster.Container{CTID: c.CTID}}, epoch(c.Epoch))
			}
			if n := h.cgroupProcs("101"); n != 0 {
				t.Errorf("%d processes are left on %s", n, h.name)
			}
		}
	})
	return l
}

// attempt names a new attempt to move the container.
func (l *lan) attempt() migrate.Attempt {
	l.next++
	return migrate.Attempt{ID: strconv.Itoa(l.next), Epoch: l.c.Epoch, Container: l.c}
}

// stageTo copies the root to the target's staging directory, as the transfer does.
func (l *lan) stageTo(from, to *host, a migrate.Attempt) {
	l.t.Helper()
	root := to.must("reserve", a).Root
	shell(l.t, "cp -a %s/vz/private/%s/. %s", from.dir, a.Container.CTID, root)
}

// images is the directory into which from dumps, and ship is what brings them to the target.
func (l *lan) images(h *host, a migrate.Attempt) string { return "/run/vzcluster/images/" + a.ID }

// ship copies images between the hosts' private file systems.
func (l *lan) ship(from, to *host, d string) {
	l.t.Helper()
	shell(l.t, "nsenter -t %d -m tar -C %s -c . | nsenter -t %d -m sh -c 'mkdir -p -m 700 %s && tar -C %s -x'",
		from.pause.Process.Pid, d, to.pause.Process.Pid, d, d)
}

// move moves the container with all steps of a migration and returns how long each took.
func (l *lan) move(from, to *host) map[string]time.Duration {
	l.t.Helper()
	took := map[string]time.Duration{}
	a := l.attempt()
	step := func(h *host, op string, more ...func(*Order)) {
		l.t.Helper()
		took[op] = h.must(op, a, more...).Took
	}
	step(from, "preflight")
	l.stageTo(from, to, a)
	step(to, "prepare")
	step(from, "arm")
	d := l.images(from, a)
	begun := time.Now()
	step(from, "freeze")
	step(from, "dump", dir(d))
	shipping := time.Now()
	l.ship(from, to, d)
	took["ship"] = time.Since(shipping)
	step(to, "restore", dir(d))
	step(to, "release", epoch(l.c.Epoch+1))
	took["frozen"] = time.Since(begun)
	step(from, "forward")
	step(from, "destroy")
	l.c.Epoch++
	l.c.Node = to.name
	return took
}

func TestMoveKeepsTheConnection(t *testing.T) {
	l := newLAN(t, "debian-redis")
	c := dial(t, redis)
	c.alive()
	l.a.must("exec", l.attempt(), argv("sh", "-c", "echo hello >/dev/shm/greeting && chmod 640 /dev/shm/greeting"))
	from, to := l.a, l.b
	for range 6 {
		took := l.move(from, to)
		gap := c.alive()
		t.Logf("%s -> %s: gap %v, of it %v shipping; retransmits %d; %v", from.name, to.name, gap.Round(10*time.Microsecond),
			took["ship"].Round(10*time.Microsecond), c.retransmits(), took)
		from, to = to, from
		at := migrate.Attempt{Container: l.c}
		if got := from.must("exec", at, argv("sh", "-c", "cat /dev/shm/greeting; stat -c %a /dev/shm/greeting; hostname")).Text; got != "hello\n640\nct101\n" {
			t.Errorf("in the container: %q", got)
		}
		from.must("usage", at)
		if n := to.cgroupProcs("101"); n != 0 {
			t.Errorf("%d processes are left on the source", n)
		}
		copies := from.must("copies", at).Copies
		if len(copies) != 1 || copies[0].State != cluster.CopyRunning || copies[0].Epoch != l.c.Epoch {
			t.Errorf("copies on the target: %+v", copies)
		}
		if copies := to.must("copies", at).Copies; len(copies) != 0 {
			t.Errorf("copies on the source: %+v", copies)
		}
	}
	stop := l.c
	stop.RunGen++
	from.must("stop", migrate.Attempt{Container: stop})
}
