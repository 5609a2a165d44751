package real

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/e2e/lab"
	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// TestLife is the life of a small container, as an operator sees it.
func TestLife(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	must(t, ctx, "create", "300", "--ostemplate", "busybox", "--on", "n2", "--ram", "64M", "--numproc", "100", "--hostname", "tiny", "--ipadd", "10.77.1.40/16")
	if got := must(t, ctx, "list", "-a", "-H", "-o", "ctid,node,status"); strings.Join(strings.Fields(got), " ") != "300 n2 stopped" {
		t.Errorf("list after create: %q", got)
	}
	must(t, ctx, "start", "300")
	for cmd, want := range map[string]string{
		"hostname": "tiny\n",
		"id -u":    "0\n",
		"echo $$":  "",
		"cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; true": "",
		"wget -q -O /dev/null http://10.77.1.40/ && echo served":            "served\n",
	} {
		if got := must(t, ctx, "exec", "300", "--", "sh", "-c", cmd); want != "" && got != want {
			t.Errorf("%s: %q, want %q", cmd, got, want)
		}
	}
	if r, err := c.CLI(ctx, "exec", "300", "--", "sh", "-c", "exit 42"); err != nil || r.Code != 42 {
		t.Errorf("exec exit 42: exit %d, %v", r.Code, err)
	}
	if r, err := c.CLI(ctx, "exec", "300", "--", "sh", "-c", "kill -9 $$"); err != nil || r.Code != 128+9 {
		t.Errorf("exec killed by SIGKILL: exit %d, %v", r.Code, err)
	}
	if r, err := c.CLIInput(ctx, strings.NewReader("through\n"), "exec", "300", "--", "cat"); err != nil || r.Stdout != "through\n" {
		t.Errorf("exec cat: %q, %v", r.Stdout, err)
	}
	// Its root is not the host's root.
	uid := must(t, ctx, "exec", "300", "--", "cat", "/proc/self/uid_map")
	if f := strings.Fields(uid); len(f) != 3 || f[1] == "0" || f[2] != "65536" {
		t.Errorf("uid map %q: want a range of its own", uid)
	}
	if out, err := c.Lab.Exec(ctx, lab.ClientHost, "busybox", "ping", "-c1", "-W2", "10.77.1.40"); err != nil {
		t.Errorf("ping from the client: %v %s", err, out)
	}
	must(t, ctx, "stop", "300")
	rec, err := c.Container(ctx, "300")
	if err != nil || rec.State != cluster.ContainerStopped {
		t.Errorf("after stop: %s, %v", rec.State, err)
	}
	must(t, ctx, "destroy", "300", "--yes")
	if r, err := c.CLI(ctx, "show", "300"); err != nil || r.Code != 3 {
		t.Errorf("show after destroy: exit %d, %v", r.Code, err)
	}
}

// TestTerminal runs a command with a terminal of its own: what it sees is a tty, and its exit code comes out.
func TestTerminal(t *testing.T) {
	if _, err := exec.LookPath("script"); err != nil {
		t.Fatalf("script(1) gives the CLI a terminal: %v", err)
	}
	ctx := testContext(t, time.Minute)
	redis(t, ctx, "tty", "10.77.1.41", "", 0)
	env, err := c.Lab.Environ()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "script", "-qec", c.Program()+" exec -t tty -- sh -c 'tty; stty size; exit 3'", "/dev/null")
	cmd.Env = append(cmd.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 3 || !strings.Contains(string(out), "/dev/pts/") {
		t.Errorf("exec -t: exit %d (%v), %q", code, err, out)
	}
}

// TestExitByItself: a container that halts inside is stopped for the cluster too, and stays so.
func TestExitByItself(t *testing.T) {
	ctx := testContext(t, time.Minute)
	redis(t, ctx, "halts", "10.77.1.42", "", 0)
	must(t, ctx, "exec", "halts", "--", "sh", "-c", "(sleep 0.2; kill -PWR 1) </dev/null >/dev/null 2>&1 &")
	poll(t, ctx, "stopped", func() bool {
		r, err := c.Container(ctx, "halts")
		return err == nil && r.State == cluster.ContainerStopped && r.Want == cluster.WantStopped
	})
}

// TestMastersRestart: all masters die at once; the containers never notice, and the state is there again.
func TestMastersRestart(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	r := redis(t, ctx, "masters", "10.77.1.43", "", 1)
	p := watch(t, ctx, r)
	before := snapshot(t, ctx)
	for _, m := range []string{"m1", "m2", "m3"} {
		if err := c.Lab.Kill(m, lab.RoleMaster, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := c.CLI(ctx, "list", "--timeout", "3s"); err != nil || r.Code != 5 {
		t.Errorf("list without masters: exit %d, %q, %v", r.Code, r.Stderr, err)
	}
	for _, m := range []string{"m1", "m2", "m3"} {
		if err := c.Lab.Start(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Lab.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	if after := snapshot(t, ctx); after != before {
		t.Errorf("state before %s\nafter %s", before, after)
	}
	alive(t, p)
}
