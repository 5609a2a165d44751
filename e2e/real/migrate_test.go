package real

import (
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// TestMigrateThereAndBack is the demo's promise: placed by the scheduler, moved live to another node and back, one connection, no
// increment lost or repeated, the same data.
func TestMigrateThereAndBack(t *testing.T) {
	ctx := testContext(t, 3*time.Minute)
	r := redis(t, ctx, "back", "10.77.1.10", "", 100)
	before, err := r.Digest(ctx)
	if err != nil {
		t.Fatal(err)
	}
	home := oneCopy(t, ctx, "back", 10*time.Second)
	p := watch(t, ctx, r)
	away := other(home, 0)
	for _, to := range []string{away, home} {
		var m cluster.Migration
		if err := c.JSON(ctx, &m, "migrate", "back", "--to", to); err != nil {
			t.Fatal(err)
		}
		if m.Phase != cluster.PhaseDone || m.Stats.Frozen <= 0 || m.Stats.ImageBytes < 100<<20 {
			t.Errorf("migration to %s: phase %s, frozen %s, %d image bytes", to, m.Phase, m.Stats.Frozen, m.Stats.ImageBytes)
		}
		if node := oneCopy(t, ctx, "back", 10*time.Second); node != to {
			t.Errorf("it runs on %s, not on %s", node, to)
		}
	}
	alive(t, p)
	after, err := r.DigestWithoutCounter(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if before != after {
		t.Errorf("DEBUG DIGEST before %s, after %s", before, after)
	}
}

// TestMigrateRound moves a container ten times around three nodes under one connection: what one migration leaves behind meets the
// next that comes to the same node.
func TestMigrateRound(t *testing.T) {
	ctx := testContext(t, 5*time.Minute)
	r := redis(t, ctx, "round", "10.77.1.11", "n1", 16)
	p := watch(t, ctx, r)
	for i := range 10 {
		to := []string{"n2", "n3", "n1"}[i%3]
		must(t, ctx, "migrate", "round", "--to", to)
		if node := oneCopy(t, ctx, "round", 10*time.Second); node != to {
			t.Fatalf("move %d: it runs on %s, not on %s", i+1, node, to)
		}
	}
	alive(t, p)
	if got := must(t, ctx, "exec", "round", "--", "cat", "/proc/1/comm"); got != "init\n" {
		t.Errorf("pid 1 after ten moves: %q", got)
	}
}

// TestStateTravels: what is in /dev/shm, in files written a moment before, and on the console arrives, and the container is as
// manageable as before.
func TestStateTravels(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	redis(t, ctx, "state", "10.77.1.12", "n1", 1)
	must(t, ctx, "exec", "state", "--", "sh", "-c",
		"echo in-shm >/dev/shm/a; echo on-console >/dev/console; ln /etc/hostname /root/hard; setsid sh -c 'i=0; while :; do i=$((i+1)); echo $i >/root/new; mv /root/new /root/count; sleep 0.01; done' </dev/null >/dev/null 2>&1 &")
	must(t, ctx, "migrate", "state", "--to", "n2")
	oneCopy(t, ctx, "state", 10*time.Second)
	for cmd, want := range map[string]string{
		"cat /dev/shm/a":                "in-shm\n",
		"stat -c %h /root/hard":         "2\n",
		"cat /proc/sys/kernel/hostname": "state\n",
	} {
		if got := must(t, ctx, "exec", "state", "--", "sh", "-c", cmd); got != want {
			t.Errorf("%s: %q, want %q", cmd, got, want)
		}
	}
	if got := must(t, ctx, "exec", "state", "--", "sh", "-c", "a=$(cat /root/count); sleep 0.3; b=$(cat /root/count); [ $b -gt $a ] && [ $a -gt 0 ] && echo counts"); got != "counts\n" {
		t.Errorf("the writer stands still after the move: %q", got)
	}
	if log := must(t, ctx, "console", "state"); !contains(log, "on-console") {
		t.Errorf("the console log did not travel: %q", log)
	}
	must(t, ctx, "set", "state", "--ram", "300M")
	must(t, ctx, "stop", "state")
	must(t, ctx, "start", "state")
	oneCopy(t, ctx, "state", 10*time.Second)
}
