package lab_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzcluster/vzcluster/e2e/lab"
)

// The test binary plays the keeper and the stand-ins for the cluster's programs too.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "host-init":
			exitWith(lab.HostInit())
		case "serve":
			exitWith(serve(os.Args[2]))
		case "call":
			exitWith(call(os.Args[2], io.Discard))
		case "fetch":
			exitWith(call(os.Args[2], os.Stdout))
		}
	}
	os.Exit(m.Run())
}

func exitWith(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// fetchSize is what a stand-in sends to each caller.
const fetchSize = 1 << 20

// serve is the stand-in for a daemon.
func serve(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Println("serving", addr)
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			c.Write(make([]byte, fetchSize)) //nolint:errcheck // the caller may have enough
			c.Close()
		}()
	}
}

// call makes a connection, within a second, and reads all that comes.
func call(addr string, out io.Writer) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	n, err := io.Copy(out, c)
	if err == nil && n != fetchSize {
		err = fmt.Errorf("%d bytes", n)
	}
	return err
}

// standIn is what runs on every host: a server of the test's own.
func standIn(t *testing.T) func(lab.Host) []lab.Daemon {
	exe := executable(t)
	return func(h lab.Host) []lab.Daemon {
		switch h.Kind {
		case lab.RoleMaster:
			return []lab.Daemon{{Role: lab.RoleMaster, Argv: []string{exe, "serve", fmt.Sprintf("%s:%d", h.IP, lab.MasterAPIPort)}}}
		case lab.RoleNode:
			return []lab.Daemon{{Role: lab.RoleNode, Argv: []string{exe, "serve", fmt.Sprintf("%s:%d", h.IP, lab.NodePort)}}}
		}
		return nil
	}
}

func executable(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

func config(t *testing.T, name string) lab.Config {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the lab's tests are end-to-end tests: they need root (namespaces, mounts, cgroups)")
	}
	return lab.Config{
		Name: fmt.Sprintf("%s-%d", name, os.Getpid()), Masters: 1, Nodes: 2,
		KeeperArgv: []string{executable(t), "host-init"}, Daemons: standIn(t), Ephemeral: true,
	}
}

func up(t *testing.T, name string) *lab.Lab {
	t.Helper()
	cfg := config(t, name)
	l, err := lab.Up(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.Background(), false); err != nil {
			t.Error(err)
		}
		noLeftovers(t, cfg.Name)
	})
	return l
}

func noLeftovers(t *testing.T, name string) {
	t.Helper()
	left, err := lab.Leftovers(name, "")
	if err != nil {
		t.Error(err)
	}
	for _, l := range left {
		t.Error("left:", l)
	}
}

func address(t *testing.T, l *lab.Lab, host string) string {
	t.Helper()
	hosts, err := l.Hosts()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		switch {
		case h.Name == host && h.Kind == lab.RoleMaster:
			return fmt.Sprintf("%s:%d", h.IP, lab.MasterAPIPort)
		case h.Name == host:
			return fmt.Sprintf("%s:%d", h.IP, lab.NodePort)
		}
	}
	t.Fatal("no host", host)
	return ""
}

// reach tells whether one host can talk to the daemon on another.
func reach(t *testing.T, l *lab.Lab, from, to string) error {
	t.Helper()
	_, err := l.Exec(t.Context(), from, executable(t), "call", address(t, l, to))
	return err
}

// reachSoon is reach for a daemon that was just started: it listens when it listens.
func reachSoon(t *testing.T, l *lab.Lab, from, to string) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if err = reach(t, l, from, to); err == nil {
			return
		}
	}
	t.Fatalf("%s cannot reach %s: %v", from, to, err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestHostsAreSeparateAndJoined(t *testing.T) {
	l := up(t, "join")
	for _, pair := range [][2]string{{"client", "n1"}, {"n1", "m1"}, {"m1", "n2"}, {"n2", "n1"}} {
		reachSoon(t, l, pair[0], pair[1])
	}
	out, err := l.Exec(t.Context(), "n1", "sh", "-c", "hostname; echo x > /run/x; echo y > /vz/y; echo $VZ_MASTERS; tr '\\0' ' ' </proc/1/cmdline; echo; ls /sys/class/net")
	must(t, err)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if lines[0] != "n1" || lines[1] != "10.77.0.11:7700" || !strings.HasSuffix(lines[2], "n1 ") {
		t.Errorf("n1 is %q", lines)
	}
	if got := strings.Join(lines[3:], " "); got != "eth0 lo vzbr0" && got != "bonding_masters eth0 lo vzbr0" {
		t.Errorf("n1 has the links %s", got)
	}
	if _, err := l.Exec(t.Context(), "n2", "sh", "-c", "test -e /run/x || test -e /vz/y"); err == nil {
		t.Error("n2 sees the files of n1")
	}
	if _, err := os.Stat(l.DiskPath("n1", "y")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat("/run/x"); err == nil {
		t.Error("the machine has got n1's file in /run")
	}
	var exit *exec.ExitError
	if _, err := l.Exec(t.Context(), "client", "sh", "-c", "exit 7"); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("exit code is lost: %v", err)
	}
	if _, err := l.Exec(t.Context(), "n9", "true"); err == nil {
		t.Error("there is no n9")
	}
}

func TestRelayReachesMaster(t *testing.T) {
	l := up(t, "relay")
	reachSoon(t, l, "client", "m1")
	masters, err := l.Masters()
	must(t, err)
	if len(masters) != 1 {
		t.Fatal(masters)
	}
	c, err := net.Dial("unix", strings.TrimPrefix(masters[0], "unix://"))
	must(t, err)
	defer c.Close()
	if n, err := io.Copy(io.Discard, c); err != nil || n != fetchSize {
		t.Errorf("read %d bytes: %v", n, err)
	}
}

func TestCutAndHeal(t *testing.T) {
	l := up(t, "cut")
	reachSoon(t, l, "client", "n1")
	reachSoon(t, l, "client", "n2")
	must(t, l.Cut(t.Context(), []string{"n1"}, nil))
	if reach(t, l, "client", "n1") == nil || reach(t, l, "n1", "n2") == nil {
		t.Error("n1 is cut from everybody but not alone")
	}
	if err := reach(t, l, "client", "n2"); err != nil {
		t.Error("n2 is not cut:", err)
	}
	must(t, l.Heal(t.Context()))
	must(t, reach(t, l, "client", "n1"))

	must(t, l.Cut(t.Context(), []string{"n1"}, []string{"client", "m1"}))
	if reach(t, l, "client", "n1") == nil || reach(t, l, "n1", "m1") == nil {
		t.Error("the groups hear each other")
	}
	if err := reach(t, l, "n2", "n1"); err != nil {
		t.Error("n2 is in no group:", err)
	}
	// The cut holds for the port, so also for the host's next life.
	must(t, l.Poweroff("n1"))
	must(t, l.Start("n1"))
	reachSoon(t, l, "n2", "n1")
	if reach(t, l, "client", "n1") == nil {
		t.Error("the cut ended with a power cycle")
	}
	must(t, l.Heal(t.Context()))
	reachSoon(t, l, "client", "n1")
	if err := l.Cut(t.Context(), []string{"n9"}, nil); err == nil {
		t.Error("there is no n9")
	}
}

func TestRate(t *testing.T) {
	l := up(t, "rate")
	reachSoon(t, l, "client", "n1")
	// The kernel's own account of the limit, since a measured one would depend on what else the machine does.
	limits := func() string {
		n1, err := l.Exec(t.Context(), "n1", "tc", "qdisc", "show", "dev", "eth0")
		must(t, err)
		return string(n1)
	}
	fetch := func() time.Duration {
		start := time.Now()
		must(t, reach(t, l, "client", "n1"))
		return time.Since(start)
	}
	must(t, l.Rate("n1", "8mbit"))
	if got := limits(); !strings.Contains(got, "rate 8Mbit") {
		t.Errorf("limit is %q", got)
	}
	// 1 MiB at 1 MB/s, less the 96 KiB of the bucket: a machine can be slower than that but not faster.
	if d := fetch(); d < 900*time.Millisecond {
		t.Errorf("1 MiB took %s at 8 Mbit/s", d)
	}
	must(t, l.Poweroff("n1"))
	must(t, l.Start("n1"))
	if got := limits(); !strings.Contains(got, "rate 8Mbit") {
		t.Errorf("after a power cycle the limit is %q", got)
	}
	must(t, l.Rate("n1", lab.RateOff))
	must(t, l.Rate("n1", lab.RateOff))
	if got := limits(); strings.Contains(got, "tbf") {
		t.Errorf("limit is %q", got)
	}
	for _, bad := range []string{"", "fast", "0gbit", "-1mbit", "1e309gbit", "NaN", "5 mbit"} {
		if err := l.Rate("n1", bad); err == nil {
			t.Errorf("rate %q was taken", bad)
		}
	}
}

func TestKillAndStart(t *testing.T) {
	l := up(t, "kill")
	reachSoon(t, l, "client", "n1")
	orphan := orphanOn(t, l, "n1")
	must(t, l.Kill("n1", "", unix.SIGKILL))
	if reach(t, l, "client", "n1") == nil {
		t.Error("the daemon is alive")
	}
	st, err := l.Status()
	must(t, err)
	for _, h := range st.Hosts {
		if h.Name == "n1" && (!h.On || len(h.Processes) != 1 || h.Processes[0].Running || h.Processes[0].Exit != "signal killed") {
			t.Errorf("n1 is %+v", h)
		}
	}
	if err := l.Kill("n1", "", unix.SIGKILL); err == nil {
		t.Error("a dead daemon was killed")
	}
	if err := unix.Kill(orphan, 0); err != nil {
		t.Error("another process of the host died with the daemon:", err)
	}
	must(t, l.Start("n1"))
	reachSoon(t, l, "client", "n1")
}

// orphanOn leaves a process on a host whose parent has ended, as a container's is whose agent was killed, and returns its pid
// on the machine.
func orphanOn(t *testing.T, l *lab.Lab, host string) int {
	t.Helper()
	_, err := l.Exec(t.Context(), host, "sh", "-c", "sleep 1000 </dev/null >/dev/null 2>&1 & echo $! > /vz/orphan")
	must(t, err)
	inner, err := os.ReadFile(l.DiskPath(host, "orphan"))
	must(t, err)
	stats, err := filepath.Glob("/proc/[0-9]*/status")
	must(t, err)
	hosts, err := l.Hosts()
	must(t, err)
	for _, h := range hosts {
		if h.Name != host {
			continue
		}
		home, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", h.Pid))
		must(t, err)
		for _, file := range stats {
			data, _ := os.ReadFile(file)
			ns, _ := os.Readlink(filepath.Join(filepath.Dir(file), "ns/pid"))
			if ns == home && strings.Contains(string(data), fmt.Sprintf("\t%s\nNSpgid:", strings.TrimSpace(string(inner)))) {
				var pid int
				_, err := fmt.Sscanf(filepath.Base(filepath.Dir(file)), "%d", &pid)
				must(t, err)
				return pid
			}
		}
	}
	t.Fatal("the orphan is not to be found")
	return 0
}

func TestPoweroffKillsAllAtOnce(t *testing.T) {
	l := up(t, "power")
	reachSoon(t, l, "client", "n1")
	orphan := orphanOn(t, l, "n1")
	// Frozen like the source of a migration: on cgroup v1 a frozen process cannot die.
	_, err := l.Exec(t.Context(), "n1", "sh", "-c", fmt.Sprintf(`
		echo left > /run/x
		for h in $(awk '$3 ~ /^cgroup2?$/ {print $2}' /proc/mounts); do mkdir -p $h%[1]s/101; done
		for f in $(awk '$3 ~ /^cgroup2?$/ {print $2}' /proc/mounts); do
			d=$f%[1]s/101
			if test -e $d/freezer.state; then cat /vz/orphan > $d/cgroup.procs; echo FROZEN > $d/freezer.state; fi
		done`, l.CgroupParent("n1")))
	must(t, err)
	must(t, l.Poweroff("n1"))
	if err := unix.Kill(orphan, 0); err == nil {
		t.Error("a frozen process outlived the power")
	}
	must(t, l.Poweroff("n1"))
	if _, err := l.Exec(t.Context(), "n1", "true"); err == nil {
		t.Error("a dead host works")
	}
	if err := l.Kill("n1", "", unix.SIGTERM); err == nil {
		t.Error("a dead host takes signals")
	}
	must(t, l.Start("n1"))
	reachSoon(t, l, "client", "n1")
	if _, err := l.Exec(t.Context(), "n1", "sh", "-c", "test ! -e /run/x && test -e /vz/orphan"); err != nil {
		t.Error("want an empty /run and the old disk:", err)
	}
}
