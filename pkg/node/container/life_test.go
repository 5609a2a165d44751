package container

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/node"
	"github.com/vzcluster/vzcluster/pkg/node/network"
)

func TestLife(t *testing.T) {
	h := newHost(t)
	c := h.container("101")
	c.Spec.Net = cluster.Network{MAC: "02:76:7a:00:00:01", Addresses: []string{"10.66.0.5/24"}}
	h.must(h.r.Create(t.Context(), c, h.tar))
	if got := h.copyOf("101"); got.State != cluster.CopyStopped || got.RunGen != 0 || got.Epoch != 1 {
		t.Fatalf("created: %+v", got)
	}
	var st unix.Stat_t
	h.must(unix.Stat(h.r.rootDir("101")+"/etc/passwd", &st))
	if st.Uid != c.IDBase+3 || st.Gid != c.IDBase+4 {
		t.Errorf("owner on the disk is %d:%d", st.Uid, st.Gid)
	}
	h.must(h.r.Create(t.Context(), c, h.tar)) // again: nothing happens

	h.must(h.r.Start(t.Context(), c))
	got := h.copyOf("101")
	if got.State != cluster.CopyRunning || got.RunGen != 1 || got.Pid == 0 {
		t.Fatalf("started: %+v", got)
	}
	pid := got.Pid
	h.must(h.r.Start(t.Context(), c))
	if got := h.copyOf("101"); got.Pid != pid {
		t.Errorf("started twice: %d and %d", pid, got.Pid)
	}
	if s := h.sh("101", "hostname; cat /etc/hostname; id -u; ip -4 addr show eth0 | head -2; cat /etc/resolv.conf"); !strings.Contains(s, "bb101.test\nbb101.test\n0\n") ||
		!strings.Contains(s, "eth0@") || !strings.Contains(s, "nameserver 10.66.0.53") {
		t.Errorf("inside: %s", s)
	}
	eventually(t, "network device", func() bool { _, err := netlink.LinkByName("vz101"); return err == nil })
	u, err := h.r.Usage(t.Context(), "101")
	h.must(err)
	if u.CPUNanos == 0 || u.MemoryBytes == 0 || u.Pids < 2 || u.DiskBytes < 1<<20 {
		t.Errorf("usage: %+v", u)
	}

	c.RunGen, c.Want = 2, cluster.WantStopped
	h.must(h.r.Stop(t.Context(), c))
	if got := h.copyOf("101"); got.State != cluster.CopyStopped || got.RunGen != 2 {
		t.Errorf("stopped: %+v", got)
	}
	if _, err := os.Stat(h.r.rootDir("101") + "/halted"); err != nil {
		t.Error("init was not asked to halt")
	}
	h.nothingLeft("101")
	h.must(h.r.Stop(t.Context(), c))

	h.must(h.r.Remove(t.Context(), "101", 7)) // another epoch's: left alone
	if got := h.copyOf("101"); got.State != cluster.CopyStopped {
		t.Errorf("removed for a wrong epoch: %+v", got)
	}
	h.must(h.r.Remove(t.Context(), "101", 1))
	if got := h.copyOf("101"); got.CTID != "" {
		t.Errorf("removed: %+v", got)
	}
	for _, p := range []string{h.r.rootDir("101"), h.r.confPath("101"), filepath.Dir(h.r.consoleLog("101")), h.r.retiredDir("101", 1)} {
		if _, err := os.Lstat(p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left (%v)", p, err)
		}
	}
	h.must(h.r.Remove(t.Context(), "101", 1))
}

// nothingLeft checks that nothing of a running container remains.
func (h *host) nothingLeft(ctid string) {
	h.t.Helper()
	rem, err := h.r.remains()
	h.must(err)
	if len(rem) != 0 {
		h.t.Errorf("left: %v", rem)
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	h.must(err)
	if strings.Contains(string(b), "/"+ctid+" ") {
		h.t.Errorf("mounts are left:\n%s", b)
	}
	if _, err := netlink.LinkByName(network.HostName(ctid)); err == nil {
		h.t.Error("the network device is left")
	}
}

// An init that ignores the request is killed when its time is over, one that cannot be asked at once, and force does not ask.
func TestStopForced(t *testing.T) {
	h := newHost(t)
	for _, tc := range []struct {
		name, script string
		force        bool
		timeout      time.Duration
	}{
		{"deaf", "trap '' TERM; while :; do sleep 1; done", false, time.Hour},
		{"stubborn", "trap 'touch /asked' TERM; while :; do sleep 0.01; done", false, 300 * time.Millisecond},
		{"force", "trap 'touch /asked' TERM; while :; do sleep 0.01; done", true, time.Hour},
		{"fork bomb", "while :; do sleep 1000 & done", true, time.Hour},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := h.container("102")
			c.Spec.Init = []string{"/bin/sh", "-c", tc.script}
			c.Spec.NumProc = 200
			// Not a busybox by name: its init's signals do not count.
			h.must(h.r.Create(t.Context(), c, h.tar))
			h.must(os.Rename(h.r.rootDir("102")+"/bin/busybox", h.r.rootDir("102")+"/bin/bb"))
			h.must(os.Symlink("bb", h.r.rootDir("102")+"/bin/busybox"))
			h.must(h.r.Start(t.Context(), c))
			eventually(t, "init is ready", func() bool {
				b, _ := os.ReadFile("/proc/" + itoa(h.copyOf("102").Pid) + "/cmdline")
				return bytes.Contains(b, []byte(tc.script)) && (tc.name == "fork bomb" || tc.name == "deaf" || catches(h.copyOf("102").Pid, unix.SIGTERM))
			})
			c.RunGen, c.Force, c.StopTimeout = 2, tc.force, tc.timeout
			h.must(h.r.Stop(t.Context(), c))
			h.nothingLeft("102")
			_, err := os.Stat(h.r.rootDir("102") + "/asked")
			if asked := err == nil; asked != (tc.name == "stubborn") {
				t.Errorf("asked: %t", asked)
			}
			h.must(h.r.Remove(t.Context(), "102", 1))
		})
	}
}

// A container outlives its agent, and the next agent takes it up; what ended in between is seen and cleaned up.
func TestReattach(t *testing.T) {
	h := newHost(t)
	h.must(h.r.Sweep(t.Context(), nil))
	stop := h.run()
	a, b := h.container("101"), h.container("102")
	b.IDBase += 65536
	h.started(a)
	h.started(b)
	before := h.copyOf("101")
	stop()
	h.restart()
	h.must(h.r.Sweep(t.Context(), nil))
	if got := h.copyOf("101"); got != before {
		t.Errorf("%+v became %+v", before, got)
	}
	h.run()
	if s := h.sh("101", "echo here"); s != "here" {
		t.Errorf("exec: %q", s)
	}
	h.must(unix.Kill(h.copyOf("102").Pid, unix.SIGKILL))
	select {
	case id := <-h.r.Exits():
		if id != "102" {
			t.Errorf("exit of %s", id)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("no exit seen")
	}
	if got := h.copyOf("102"); got.State != cluster.CopyStopped || got.RunGen != 1 {
		t.Errorf("after its exit: %+v", got)
	}
	if _, err := os.Stat(h.r.deviceDir("102")); err == nil {
		t.Error("the ended container's devices are left")
	}
	a.RunGen = 2
	h.must(h.r.Stop(t.Context(), a))
	h.nothingLeft("101")
}

// A pid that belongs to another process by now is not taken for init.
func TestPidReused(t *testing.T) {
	h := newHost(t)
	c := h.container("101")
	h.started(c)
	h.must(unix.Kill(h.copyOf("101").Pid, unix.SIGKILL))
	eventually(t, "init is gone", func() bool { return h.copyOf("101").State == cluster.CopyStopped })
	state := filepath.Join(h.r.stateRoot(), "101", "state.json")
	b, err := os.ReadFile(state)
	h.must(err)
	self := []byte(`"init_process_pid":` + itoa(os.Getpid()) + `,`)
	i := bytes.Index(b, []byte(`"init_process_pid":`))
	j := i + bytes.IndexByte(b[i:], ',') + 1
	h.must(os.WriteFile(state, append(append(append([]byte{}, b[:i]...), self...), b[j:]...), 0o600))
	if got := h.copyOf("101"); got.State != cluster.CopyStopped {
		t.Errorf("this test was taken for init: %+v", got)
	}
	h.must(h.r.Start(t.Context(), c)) // and a new start cleans up first
}

func TestSweep(t *testing.T) {
	h := newHost(t)
	live, dead, moving := h.container("101"), h.container("102"), h.container("103")
	dead.IDBase, moving.IDBase = live.IDBase+65536, live.IDBase+2*65536
	h.started(live)
	h.started(dead)
	// A staged copy of a migration that is open, one of a closed one, a half-made one, a retired one, a record without a root.
	for _, s := range []string{"103.7", "103.6", "104." + createAttempt} {
		h.must(os.MkdirAll(stageRoot(filepath.Join(h.r.stagingBase(), s)), 0o755))
	}
	h.must(writeRecord(stageRecord(h.r.stageDir("103", "7")), recordOf(moving)))
	h.must(os.MkdirAll(h.r.retiredDir("105", 3)+"/x", 0o755))
	h.must(writeRecord(h.r.confPath("106"), recordOf(h.container("106"))))
	h.must(h.r.makeDevices("103", moving.IDBase))
	for _, a := range []string{"6", "7"} {
		h.must(os.MkdirAll(h.r.imageDir(a), 0o700))
	}
	states := map[string]cluster.CopyState{}
	cs, err := h.r.Copies(t.Context())
	h.must(err)
	for _, c := range cs {
		states[c.CTID] = c.State
	}
	for id, want := range map[string]cluster.CopyState{"101": cluster.CopyRunning, "103": cluster.CopyStaged, "104": cluster.CopyCreating,
		"105": cluster.CopyRetired, "106": ""} {
		if states[id] != want {
			t.Errorf("%s is %q, want %q", id, states[id], want)
		}
	}
	h.must(unix.Kill(h.copyOf("102").Pid, unix.SIGKILL))
	eventually(t, "102 is gone", func() bool { return h.copyOf("102").State == cluster.CopyStopped })

	h.restart()
	h.must(h.r.Sweep(t.Context(), map[string]bool{"7": true}))
	for p, want := range map[string]bool{
		h.r.stageDir("103", "7"): true, h.r.stageDir("103", "6"): false, h.r.stageDir("104", createAttempt): false,
		h.r.retiredDir("105", 3): false, h.r.confPath("106"): false, h.r.confPath("101"): true,
		h.r.imageDir("7"): true, h.r.imageDir("6"): false, h.r.deviceDir("102"): false, h.r.deviceDir("103") + "/dev/null": true,
	} {
		if _, err := os.Lstat(p); (err == nil) != want {
			t.Errorf("%s: there is %t, want %t", p, err == nil, want)
		}
	}
	if got := h.copyOf("101"); got.State != cluster.CopyRunning {
		t.Errorf("the running one: %+v", got)
	}
	h.must(h.r.Sweep(t.Context(), nil))
	if _, err := os.Lstat(h.r.deviceDir("103")); err == nil {
		t.Error("devices of the discarded migration are left")
	}
}

// A start that the agent did not live to finish is finished by the next one: init waits for it.
func TestHalfStarted(t *testing.T) {
	h := newHost(t)
	c := h.container("101")
	h.must(h.r.Create(t.Context(), c, h.tar))
	ctx, cancel := context.WithCancel(t.Context())
	c.Spec.Net = cluster.Network{MAC: "02:76:7a:00:00:01", Bridge: "nobridge0"}
	if err := h.r.Start(ctx, c); err == nil || !strings.Contains(err.Error(), "nobridge0") {
		t.Fatalf("start without a bridge: %v", err)
	}
	cancel()
	h.nothingLeft("101")
	if got := h.copyOf("101"); got.State != cluster.CopyStopped || got.RunGen != 1 {
		t.Errorf("after a failed start: %+v", got)
	}
	c.Spec.Net = cluster.Network{}
	lc := h.halfStart(c)
	if got := h.copyOf("101"); got.State != cluster.CopyStopped {
		t.Errorf("half started: %+v", got)
	}
	_ = lc
	h.restart()
	h.must(h.r.Sweep(t.Context(), nil))
	if got := h.copyOf("101"); got.State != cluster.CopyRunning {
		t.Errorf("after the sweep: %+v", got)
	}
}

func TestCreateRefused(t *testing.T) {
	h := newHost(t)
	text := filepath.Join(h.cfg.DataDir, "text")
	h.must(os.WriteFile(text, []byte(strings.Repeat("this is no archive\n", 100)), 0o600))
	ok := h.container("101")
	for _, tc := range []struct {
		name, tar string
		change    func(*cluster.Container)
		want      string
	}{
		{"not a tar", text, nil, "not a tar"},
		{"missing", "/nonexistent", nil, "no such file"},
		{"no ids", h.tar, func(c *cluster.Container) { c.IDBase = 0 }, "range of ids"},
		{"name", h.tar, func(c *cluster.Container) { c.CTID = "../x" }, "not a number"},
		{"no room", h.tar, func(c *cluster.Container) { c.Spec.Resources.DiskBytes = 1000 }, "disk space"},
	} {
		c := ok
		if tc.change != nil {
			tc.change(&c)
		}
		if err := h.r.Create(t.Context(), c, tc.tar); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want ...%s...", tc.name, err, tc.want)
		}
		if cs, err := h.r.Copies(t.Context()); err != nil || len(cs) != 0 {
			t.Errorf("%s: left %+v (%v)", tc.name, cs, err)
		}
	}
	if err := h.r.Start(t.Context(), ok); err == nil {
		t.Error("a container that is not there was started")
	}
	if _, err := h.r.Exec(t.Context(), "101", node.ExecSpec{Argv: []string{"true"}}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("exec: %v", err)
	}
	h.must(h.r.Create(t.Context(), ok, h.tar))
	other := ok
	other.Epoch = 2
	if err := h.r.Create(t.Context(), other, h.tar); err == nil {
		t.Error("created over a copy of another epoch")
	}
	old := ok
	old.Epoch = 0
	if err := h.r.Start(t.Context(), old); err == nil {
		t.Error("started by an order of an older epoch")
	}
}
