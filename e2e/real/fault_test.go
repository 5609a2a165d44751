package real

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/e2e/lab"
	"github.com/vzcluster/vzcluster/pkg/cluster"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

// initOf names a container's init beyond doubt: pid and start time.
func initOf(t *testing.T, ctx context.Context, name string) string {
	t.Helper()
	return must(t, ctx, "exec", name, "--", "cut", "-d ", "-f22", "/proc/1/stat")
}

// TestAgentKilled: containers do not need their agent. The restarted one manages them on, and they can move.
func TestAgentKilled(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	r := redis(t, ctx, "agent", "10.77.1.20", "n1", 16)
	p := watch(t, ctx, r)
	before, starts := initOf(t, ctx, "agent"), agentStarts(t, ctx, "n1")
	if err := c.Lab.Kill("n1", lab.RoleNode, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := c.Lab.Start("n1"); err != nil {
		t.Fatal(err)
	}
	poll(t, ctx, "the new agent", func() bool { return agentStarts(t, ctx, "n1") > starts })
	if after := initOf(t, ctx, "agent"); after != before {
		t.Errorf("init started at %q before and at %q after the agent's restart", before, after)
	}
	must(t, ctx, "migrate", "agent", "--to", "n2")
	oneCopy(t, ctx, "agent", 10*time.Second)
	alive(t, p)
}

// TestLeaderKilled kills the leader at different moments of a migration: it still ends one way or the other, with one copy.
func TestLeaderKilled(t *testing.T) {
	ctx := testContext(t, 6*time.Minute)
	r := redis(t, ctx, "leader", "10.77.1.21", "n1", 64)
	p := watch(t, ctx, r)
	for _, phase := range []cluster.Phase{cluster.PhaseCopy, cluster.PhaseSwitch, cluster.PhaseCommitted} {
		from := oneCopy(t, ctx, "leader", 60*time.Second)
		id := detach(t, ctx, "leader", other(from, 0))
		leader := leaderOf(t, ctx)
		waitPhase(t, ctx, id, phase)
		if err := c.Lab.Kill(leader, lab.RoleMaster, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		node := oneCopy(t, ctx, "leader", 60*time.Second)
		m := migration(t, ctx, id)
		t.Logf("leader %s killed in or after %s: ended %s on %s (%s)", leader, phase, m.Phase, node, m.Reason)
		if want := map[cluster.Phase]string{cluster.PhaseDone: m.Target, cluster.PhaseFailed: m.Source}[m.Phase]; node != want {
			t.Errorf("ended %s, but it runs on %s", m.Phase, node)
		}
		if err := c.Lab.Start(leader); err != nil {
			t.Fatal(err)
		}
	}
	alive(t, p)
}

// TestCorruptImage: one flipped byte in the stream is found before anything is restored, and the source runs on.
func TestCorruptImage(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	r := redis(t, ctx, "corrupt", "10.77.1.22", "n1", 16)
	p := watch(t, ctx, r)
	withFault(t, ctx, "n1", "corrupt-image-once")
	res, err := c.CLI(ctx, "migrate", "corrupt", "--to", "n2")
	if err != nil {
		t.Fatal(err)
	}
	if res.Code != 4 || !contains(res.Stderr, "differs from what was sent") {
		t.Errorf("migrate: exit %d, stderr %q; want 4 and the damaged file named", res.Code, res.Stderr)
	}
	if node := oneCopy(t, ctx, "corrupt", 10*time.Second); node != "n1" {
		t.Errorf("it runs on %s", node)
	}
	must(t, ctx, "migrate", "corrupt", "--to", "n2") // a second try works
	if node := oneCopy(t, ctx, "corrupt", 10*time.Second); node != "n2" {
		t.Errorf("after the second try it runs on %s", node)
	}
	alive(t, p)
}

// TestTargetPoweroff: the target's power goes while it receives; the source runs on under the same connection.
func TestTargetPoweroff(t *testing.T) {
	ctx := testContext(t, 4*time.Minute)
	r := redis(t, ctx, "target", "10.77.1.23", "n1", 256)
	p := watch(t, ctx, r)
	for _, phase := range []cluster.Phase{cluster.PhaseCopy, cluster.PhaseSwitch} {
		id := detach(t, ctx, "target", "n2")
		waitPhase(t, ctx, id, phase)
		poweroff(t, "n2")
		if node := oneCopy(t, ctx, "target", 60*time.Second); node != "n1" {
			t.Fatalf("target off in %s: it runs on %s", phase, node)
		}
		if m := migration(t, ctx, id); m.Phase != cluster.PhaseFailed {
			t.Errorf("target off in %s: the migration is %s", phase, m.Phase)
		}
		if err := c.Lab.Start("n2"); err != nil {
			t.Fatal(err)
		}
		waitOnline(t, ctx, "n2")
	}
	alive(t, p)
}

// TestSourceAgentKilledFrozen kills the source's agent while the container is frozen and nothing is committed: within a minute there
// is one copy again, and the connection has survived, whichever way it ended.
func TestSourceAgentKilledFrozen(t *testing.T) {
	ctx := testContext(t, 4*time.Minute)
	r := redis(t, ctx, "source", "10.77.1.24", "n1", 256)
	p := watch(t, ctx, r)
	id := detach(t, ctx, "source", "n2")
	rec, err := c.Container(ctx, "source")
	if err != nil {
		t.Fatal(err)
	}
	waitFrozen(t, ctx, rec.CTID, "n1")
	if err := c.Lab.Kill("n1", lab.RoleNode, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if m := migration(t, ctx, id); m.Phase.Decided() {
		t.Logf("the kill came after the decision: %s", m.Phase)
	}
	if err := c.Lab.Start("n1"); err != nil {
		t.Fatal(err)
	}
	node := oneCopy(t, ctx, "source", 60*time.Second)
	m := migration(t, ctx, id)
	t.Logf("ended %s on %s (%s)", m.Phase, node, m.Reason)
	must(t, ctx, "migrate", "source", "--to", other(node, 0)) // a second try works
	oneCopy(t, ctx, "source", 10*time.Second)
	alive(t, p)
}

// TestNodeReboot: a host that loses power starts its containers again when it is back, from their disks, once.
func TestNodeReboot(t *testing.T) {
	ctx := testContext(t, 3*time.Minute)
	redis(t, ctx, "reboot", "10.77.1.25", "n3", 1)
	must(t, ctx, "exec", "reboot", "--", "sh", "-c", "echo kept >/root/kept; sync")
	before, err := c.Container(ctx, "reboot")
	if err != nil {
		t.Fatal(err)
	}
	poweroff(t, "n3")
	poll(t, ctx, "the list to say that nobody knows", func() bool {
		return strings.TrimSpace(must(t, ctx, "list", "reboot", "-H", "-o", "status")) == "unknown"
	})
	if err := c.Lab.Start("n3"); err != nil {
		t.Fatal(err)
	}
	waitOnline(t, ctx, "n3")
	oneCopy(t, ctx, "reboot", 60*time.Second)
	if got := must(t, ctx, "exec", "reboot", "--", "cat", "/root/kept"); got != "kept\n" {
		t.Errorf("file after the boot: %q", got)
	}
	after, err := c.Container(ctx, "reboot")
	if err != nil {
		t.Fatal(err)
	}
	if after.Epoch <= before.Epoch {
		t.Errorf("a cold start needs a new epoch: %d before, %d after", before.Epoch, after.Epoch)
	}
}

// poweroff switches a host off; it is on again when the test ends, however it ends.
func poweroff(t *testing.T, host string) {
	t.Helper()
	t.Cleanup(func() {
		if err := c.Lab.Start(host); err != nil {
			t.Error(err)
		}
		waitOnline(t, testContext(t, time.Minute), host)
	})
	if err := c.Lab.Poweroff(host); err != nil {
		t.Fatal(err)
	}
}

// detach starts a migration and returns its id at once.
func detach(t *testing.T, ctx context.Context, name, to string) string {
	t.Helper()
	var m cluster.Migration
	if err := c.JSON(ctx, &m, "migrate", name, "--to", to, "--detach"); err != nil {
		t.Fatal(err)
	}
	return m.ID
}

func migration(t *testing.T, ctx context.Context, id string) cluster.Migration {
	t.Helper()
	var all []cluster.Migration
	if err := c.JSON(ctx, &all, "migrations", "-a"); err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if m.ID == id {
			return m
		}
	}
	t.Fatalf("no migration %s in %d", id, len(all))
	return cluster.Migration{}
}

var phaseOrder = map[cluster.Phase]int{cluster.PhasePending: 0, cluster.PhasePrepare: 1, cluster.PhaseCopy: 2, cluster.PhaseSwitch: 3,
	cluster.PhaseCommitted: 4, cluster.PhaseAborting: 4, cluster.PhaseDone: 5, cluster.PhaseFailed: 5}

// waitPhase returns as soon as a migration is in a phase or past it.
func waitPhase(t *testing.T, ctx context.Context, id string, phase cluster.Phase) {
	t.Helper()
	poll(t, ctx, "phase "+string(phase), func() bool { return phaseOrder[migration(t, ctx, id).Phase] >= phaseOrder[phase] })
}

// waitFrozen returns as soon as the kernel shows the container frozen on a host.
func waitFrozen(t *testing.T, ctx context.Context, ctid, host string) {
	t.Helper()
	poll(t, ctx, "frozen copy on "+host, func() bool {
		copies, err := c.KernelCopies(ctid)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range copies {
			if p.Host == host && p.Frozen {
				return true
			}
		}
		return false
	})
}

func waitOnline(t *testing.T, ctx context.Context, node string) {
	t.Helper()
	poll(t, ctx, node+" online", func() bool {
		nodes, err := c.Nodes(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			if n.Name == node && n.State == cluster.NodeOnline && n.Live != nil && time.Since(n.Live.LastReport) < 3*time.Second {
				return true
			}
		}
		return false
	})
}

// agentStarts is how often a node's agent has started, as the cluster knows.
func agentStarts(t *testing.T, ctx context.Context, node string) uint64 {
	t.Helper()
	nodes, err := c.Nodes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if n.Name == node {
			return n.AgentStarts
		}
	}
	t.Fatalf("no node %s", node)
	return 0
}

func leaderOf(t *testing.T, ctx context.Context) string {
	t.Helper()
	var s cluster.Status
	if err := c.JSON(ctx, &s, "status"); err != nil {
		t.Fatal(err)
	}
	return s.Leader
}

// poll waits for something to become true; the test's context bounds it.
func poll(t *testing.T, ctx context.Context, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("waiting for %s: %v", what, ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// withFault runs a node's agent with a fault switched on, until the test ends. Containers run on across the restarts.
func withFault(t *testing.T, ctx context.Context, node, fault string) {
	t.Helper()
	plain := daemonsOf(t, node)
	faulty := make([]lab.Daemon, len(plain))
	for i, d := range plain {
		faulty[i] = d
		faulty[i].Argv = append(append([]string{}, d.Argv...), "--fault", fault)
	}
	restart := func(ds []lab.Daemon) {
		if err := c.Lab.SetDaemons(node, ds...); err != nil {
			t.Fatal(err)
		}
		if err := c.Lab.Kill(node, lab.RoleNode, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := c.Lab.Start(node); err != nil {
			t.Fatal(err)
		}
		waitOnline(t, ctx, node)
	}
	restart(faulty)
	t.Cleanup(func() { restart(plain) })
}

func daemonsOf(t *testing.T, node string) []lab.Daemon {
	t.Helper()
	hosts, err := c.Lab.Hosts()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		if h.Name == node {
			return h.Daemons
		}
	}
	t.Fatalf("no host %s", node)
	return nil
}
