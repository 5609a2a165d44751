package container

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/cgroups"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/node"
)

func (h *host) limit(c cluster.Container, v1, v2 string) string {
	h.t.Helper()
	m, _, err := h.r.newCgroups(c)
	h.must(err)
	sub, file, _ := strings.Cut(v1, "/")
	if cgroups.IsCgroup2UnifiedMode() {
		sub, file = "", v2
	}
	b, err := os.ReadFile(filepath.Join(m.Path(sub), file))
	h.must(err)
	return strings.TrimSpace(string(b))
}

func TestLimits(t *testing.T) {
	h := newHost(t)
	c := h.container("101")
	c.Spec.CPUUnits, c.Spec.NumProc = 2000, 77
	h.started(c)
	check := func(what, v1, want1, v2, want2 string) {
		t.Helper()
		want := want1
		if cgroups.IsCgroup2UnifiedMode() {
			want = want2
		}
		if got := h.limit(c, v1, v2); got != want {
			t.Errorf("%s is %s, want %s", what, got, want)
		}
	}
	check("memory", "memory/memory.limit_in_bytes", "67108864", "memory.max", "67108864")
	check("cpu", "cpu/cpu.cfs_quota_us", "50000", "cpu.max", "50000 100000")
	check("weight", "cpu/cpu.shares", "2048", "cpu.weight", "79")
	check("pids", "pids/pids.max", "77", "pids.max", "77")

	c.Spec.Resources.MemoryBytes, c.Spec.CPULimit, c.Spec.NumProc, c.SpecGen, c.Epoch = 128<<20, 20, 0, 2, 3
	h.must(h.r.Apply(t.Context(), c))
	check("memory", "memory/memory.limit_in_bytes", "134217728", "memory.max", "134217728")
	check("cpu", "cpu/cpu.cfs_quota_us", "20000", "cpu.max", "20000 100000")
	check("pids", "pids/pids.max", "4096", "pids.max", "4096")
	if got := h.copyOf("101"); got.SpecGen != 2 || got.Epoch != 3 || got.RunGen != 1 {
		t.Errorf("record: %+v", got)
	}
	c.RunGen = 2
	h.must(h.r.Stop(t.Context(), c))
	c.SpecGen = 3
	h.must(h.r.Apply(t.Context(), c))
	if got := h.copyOf("101"); got.SpecGen != 3 {
		t.Errorf("record of the stopped one: %+v", got)
	}
}

// The target of a migration must derive what the source has started.
func TestConfigDeterministic(t *testing.T) {
	h := newHost(t)
	c := h.container("101")
	b1, err := json.Marshal(h.r.config(c))
	h.must(err)
	b, err := json.Marshal(c)
	h.must(err)
	var again cluster.Container
	h.must(json.Unmarshal(b, &again))
	b2, err := json.Marshal(h.r.config(again))
	h.must(err)
	if !bytes.Equal(b1, b2) {
		t.Errorf("configurations differ:\n%s\n%s", b1, b2)
	}
}

func TestConfined(t *testing.T) {
	h := newHost(t)
	c := h.container("101")
	h.started(c)
	fails := func(what, script string) {
		t.Helper()
		var out bytes.Buffer
		code, err := h.r.Exec(t.Context(), "101", node.ExecSpec{Argv: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out})
		if err != nil || code == 0 {
			t.Errorf("%s is possible: %d %v %s", what, code, err, out.String())
		}
	}
	fails("sysrq", "echo h > /proc/sysrq-trigger")
	fails("kernel sysctl", "echo 1 > /proc/sys/kernel/panic")
	fails("core pattern", "echo x > /proc/sys/kernel/core_pattern")
	fails("sysfs", "echo 0 > /sys/kernel/mm/ksm/run")
	fails("making a device", "mknod /tmp/sda b 8 0")
	fails("setting the clock", "date -s 2001-01-01 >/dev/null; date +%Y | grep -q 2001")
	fails("reading memory of the kernel", "head -c 1 /proc/kcore | grep -q .")
	if s := h.sh("101", "cat /proc/keys /proc/interrupts; ls /sys/firmware"); s != "" {
		t.Errorf("masked paths show %q", s)
	}
	if s := h.sh("101", "echo x > /dev/null; head -c 4 /dev/urandom > /dev/zero; touch /dev/shm/a && echo ok"); s != "ok" {
		t.Errorf("devices: %q", s)
	}
	st := h.sh("101", "cat /proc/1/status /proc/self/status")
	for _, want := range []string{"Seccomp:\t2", "CapInh:\t0000000000000000", "CapAmb:\t0000000000000000"} {
		if strings.Count(st, want) != 2 {
			t.Errorf("no %q in %s", want, st)
		}
	}
	// No process of the container is the host's root.
	b, err := os.ReadFile("/proc/" + itoa(h.copyOf("101").Pid) + "/status")
	h.must(err)
	if !strings.Contains(string(b), "Uid:\t"+itoa(int(c.IDBase))+"\t") {
		t.Errorf("init on the host: %s", b)
	}
	for ns, shared := range map[string]bool{"user": false, "mnt": false, "pid": false, "uts": false, "ipc": false, "net": false, "cgroup": false} {
		ours, _ := os.Readlink("/proc/self/ns/" + ns)
		theirs, _ := os.Readlink("/proc/" + itoa(h.copyOf("101").Pid) + "/ns/" + ns)
		if (ours == theirs) != shared || theirs == "" {
			t.Errorf("namespace %s: %q and %q", ns, ours, theirs)
		}
	}
}

func TestPrivileged(t *testing.T) {
	h := newHost(t)
	c := h.container("101")
	c.Spec.Privileged, c.IDBase = true, 0
	h.started(c)
	if s := h.sh("101", "cat /proc/self/uid_map | head -1; touch /x; id -u"); !strings.Contains(s, "4294967295") {
		t.Errorf("it has a user namespace: %s", s)
	}
	var out bytes.Buffer
	if code, err := h.r.Exec(t.Context(), "101", node.ExecSpec{Argv: []string{"sh", "-c", "echo 1 > /proc/sys/kernel/panic"}, Stderr: &out}); code == 0 || err != nil {
		t.Errorf("the host's sysctl was written: %d %v", code, err)
	}
}
