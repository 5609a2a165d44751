package movetest

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzcluster/vzcluster/pkg/migrate"
)

// frozen brings a move to the point where everything is dumped, and returns the attempt and its images.
func (l *lan) frozen(prepare bool) (migrate.Attempt, string) {
	l.t.Helper()
	a := l.attempt()
	l.a.must("preflight", a)
	l.stageTo(l.a, l.b, a)
	if prepare {
		l.b.must("prepare", a)
	}
	l.a.must("arm", a)
	l.a.must("freeze", a)
	d := l.images(l.a, a)
	l.a.must("dump", a, dir(d))
	return a, d
}

// workers lists criu processes that are below this test or were orphaned by one of its agents.
func workers(t *testing.T) []int {
	t.Helper()
	var all []int
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		if b, err := os.ReadFile(p + "/cmdline"); err == nil && strings.Contains(string(b), "\x00swrk\x00") {
			pid, _ := strconv.Atoi(filepath.Base(p))
			all = append(all, pid)
		}
	}
	return all
}

func noWorkers(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left := workers(t)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("criu processes are left: %v", left)
		}
	}
}

func (l *lan) nothingOnTarget(a migrate.Attempt) {
	l.t.Helper()
	if n := l.b.cgroupProcs("101"); n != 0 {
		l.t.Errorf("%d processes are left on the target", n)
	}
	if _, err := os.Stat("/sys/fs/cgroup/pids/" + cgroupParent + "/b/101"); err == nil {
		l.t.Error("the target still has the cgroup")
	}
	left := l.b.in("ip -br link | grep vz101 || true; mount | grep vzcluster/dev/101 || true; ls -A %[1]s/vz/private/.staging %[1]s/vz/conf %[1]s/vz/private/101 2>&1 || true", l.b.dir)
	for line := range strings.Lines(left) {
		if strings.Contains(line, "vz101") || strings.Contains(line, "dev/101") || strings.HasPrefix(line, "101") {
			l.t.Errorf("left on the target: %s", left)
			break
		}
	}
}

func TestAbortAfterHeld(t *testing.T) {
	l := newLAN(t, "debian-redis")
	c := dial(t, redis)
	c.alive()
	a, d := l.frozen(true)
	l.ship(l.a, l.b, d)
	l.b.must("restore", a, dir(d))
	l.b.must("restore", a, dir(d)) // the same answer, no second effect
	if n := l.b.cgroupProcs("101"); n < 2 {
		t.Fatalf("%d processes are held", n)
	}
	l.b.must("discard", a)
	l.a.must("thaw", a)
	t.Logf("gap %v, retransmits %d", c.alive(), c.retransmits())
	l.a.must("thaw", a)
	l.b.must("discard", a)
	l.nothingOnTarget(a)
	noWorkers(t)
	// And after it all, it moves.
	l.move(l.a, l.b)
	c.alive()
}

func TestHeldFramesAreDelivered(t *testing.T) {
	l := newLAN(t, "debian-redis")
	c := dial(t, redis)
	c.alive()
	for _, abort := range []bool{true, false} {
		other, err := net.DialTimeout("tcp", redis, 20*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		a, d := l.frozen(true)
		// A sender that does not wait for answers: frames pile up while nobody takes them.
		for i := range 50 {
			fmt.Fprintf(other, "SET pipelined:%d %s\r\n", i, strings.Repeat("x", 1000))
		}
		if abort {
			l.a.must("thaw", a)
			l.b.must("discard", a)
		} else {
			l.ship(l.a, l.b, d)
			l.b.must("restore", a, dir(d))
			l.b.must("release", a, epoch(l.c.Epoch+1))
			l.a.must("forward", a)
			l.a.must("destroy", a)
		}
		c.alive()
		_ = other.SetDeadline(time.Now().Add(10 * time.Second))
		answers := make([]byte, 50*len("+OK\r\n"))
		if _, err := io.ReadFull(other, answers); err != nil {
			t.Fatalf("abort %v: %v", abort, err)
		}
		other.Close()
	}
}

func TestRestoreFromBrokenImages(t *testing.T) {
	l := newLAN(t, "debian-redis")
	c := dial(t, redis)
	c.alive()
	for _, broken := range []string{"truncate -s 4096 pages-1.img", "truncate -s 0 pages-2.img", "rm core-1.img", "truncate -s 100 files.img",
		"rm vz-devices.tar"} {
		a, d := l.frozen(true)
		l.ship(l.a, l.b, d)
		l.b.in("cd %s && %s", d, broken)
		begun := time.Now()
		if _, err := l.b.try(Order{Op: "restore", A: a, Dir: d, Limit: 5 * time.Second}); err == nil {
			t.Errorf("%s: restored", broken)
		} else {
			t.Logf("%s: %v: %v", broken, time.Since(begun), err)
		}
		l.b.must("discard", a)
		l.a.must("thaw", a)
		c.alive()
		l.nothingOnTarget(a)
		noWorkers(t)
	}
}

// TestKilledDump kills CRIU at all moments of a dump. Frozen is what the container has to be afterwards, and a thaw has to end it. More cannot
// be had: CRIU thaws the tasks to seize them, so that when it dies some run on for a moment, in the middle of what it had injected or with
// a socket that it had put into repair mode. A task or a connection may be lost by that, and with init the container.
func TestKilledDump(t *testing.T) {
	l := newLAN(t, "debian-redis")
	c := dial(t, redis)
	c.alive()
	survived := 0
	for i := range 12 {
		a := l.attempt()
		l.a.must("arm", a)
		l.a.must("freeze", a)
		victims := workers(t)
		if len(victims) != 1 {
			t.Fatalf("workers: %v", victims)
		}
		go func() {
			time.Sleep(time.Duration(2*i) * time.Millisecond)
			_ = unix.Kill(victims[0], unix.SIGKILL)
		}()
		_, err := l.a.try(Order{Op: "dump", A: a, Dir: l.images(l.a, a), Limit: time.Minute})
		left := l.a.cgroupProcs("101")
		if state := l.a.freezerState("101"); left > 0 && state == "THAWED" {
			t.Errorf("killed after %d ms: %d processes run", 2*i, left)
		}
		l.a.must("thaw", a)
		noWorkers(t)
		if !c.works() {
			t.Logf("killed after %d ms: the connection was lost; dump: %v", 2*i, err)
			break
		}
		survived++
	}
	if survived == 0 {
		t.Error("no killed dump was survived")
	}
	// Whatever was lost, the container can be handled: it moves, or it has ended.
	if l.a.cgroupProcs("101") > 0 {
		l.move(l.a, l.b)
		if l.b.cgroupProcs("101") == 0 {
			t.Error("nothing arrived")
		}
	}
}

func TestAgentKilled(t *testing.T) {
	l := newLAN(t, "debian-redis")
	c := dial(t, redis)
	c.alive()

	// The source's agent, between freeze and verdict: the kernel keeps it frozen and fenced, the next agent thaws it.
	a, _ := l.frozen(false)
	l.a.killAgent()
	before := l.a.cgroupProcs("101")
	l.a.startAgent()
	l.a.must("thaw", a)
	l.b.must("discard", a)
	c.alive()
	if n := l.a.cgroupProcs("101"); n != before {
		t.Errorf("%d processes, before it was killed %d", n, before)
	}

	// The target's agent, with everything held: the tasks die, and the same attempt is restored by the next agent.
	a, d := l.frozen(true)
	l.ship(l.a, l.b, d)
	l.b.must("restore", a, dir(d))
	l.b.killAgent()
	noWorkers(t)
	l.b.startAgent()
	if n := l.b.cgroupProcs("101"); n != 0 {
		t.Errorf("%d held processes outlived their agent", n)
	}
	l.b.must("restore", a, dir(d))
	l.b.must("release", a, epoch(2))
	l.a.must("forward", a)
	c.alive()

	// The target's agent after the release: another release finds everything done.
	l.b.killAgent()
	l.b.startAgent()
	l.b.must("release", a, epoch(2))
	l.a.must("destroy", a)
	c.alive()
	if code := l.b.must("exec", a, argv("true")).Code; code != 0 {
		t.Errorf("exec: %d", code)
	}
}

func TestReleaseOfNothing(t *testing.T) {
	l := newLAN(t, "busybox")
	a, d := l.frozen(true)
	l.ship(l.a, l.b, d)
	l.b.must("restore", a, dir(d))
	l.b.killAgent()
	noWorkers(t)
	l.b.startAgent()
	rep, err := l.b.try(Order{Op: "release", A: a, Epoch: 2, Limit: time.Minute})
	if err == nil || !rep.Lost {
		t.Fatalf("release of lost tasks: %v, lost %v", err, rep.Lost)
	}
	copies := l.b.must("copies", a).Copies
	if len(copies) != 1 || copies[0].State != "stopped" || copies[0].Epoch != 2 {
		t.Errorf("copies: %+v", copies)
	}
	l.a.must("forward", a)
	l.a.must("destroy", a)
	c := l.c
	c.Epoch, c.RunGen = 3, 2
	l.b.must("start", migrate.Attempt{Container: c})
}

func TestRefusals(t *testing.T) {
	l := newLAN(t, "busybox")
	a := l.attempt()
	if _, err := l.a.try(Order{Op: "reserve", A: a}); err == nil {
		t.Error("the owner reserved for itself")
	}
	if _, err := l.b.try(Order{Op: "prepare", A: a}); err == nil {
		t.Error("prepared without a reservation")
	}
	if _, err := l.b.try(Order{Op: "release", A: a, Epoch: 2}); err == nil {
		t.Error("released what was never staged")
	}
	if _, err := l.b.try(Order{Op: "freeze", A: a}); err == nil {
		t.Error("froze what does not run here")
	}
	if _, err := l.a.try(Order{Op: "dump", A: a, Dir: "/run/vzcluster/images/x"}); err == nil {
		t.Error("dumped what is not frozen")
	}
	l.a.must("thaw", a) // nothing to do, no harm
	l.b.must("discard", a)
}
