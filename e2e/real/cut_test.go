package real

import (
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// TestCutInSwitch cuts a link while the container is frozen. Whoever is cut off decides nothing by itself: the container thaws or moves
// on the masters' word alone, and its client's connection outlives the silence.
func TestCutInSwitch(t *testing.T) {
	for _, tt := range []struct {
		name string
		a, b []string
		heal bool // the side that is cut off hears the verdict, and cleans up, only after the link is back
	}{
		{"source from target", []string{"n1"}, []string{"n2"}, false},
		{"source from masters", []string{"n1"}, []string{"m1", "m2", "m3"}, true},
		{"target from masters", []string{"n2"}, []string{"m1", "m2", "m3"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx := testContext(t, 3*time.Minute)
			r := redis(t, ctx, "cut", "10.77.1.50", "n1", 256)
			p := watch(t, ctx, r)
			id := detach(t, ctx, "cut", "n2")
			waitPhase(t, ctx, id, cluster.PhaseSwitch)
			t.Cleanup(func() {
				if err := c.Lab.Heal(testContext(t, time.Minute)); err != nil {
					t.Error(err)
				}
				waitOnline(t, testContext(t, time.Minute), "n1")
				waitOnline(t, testContext(t, time.Minute), "n2")
			})
			if err := c.Lab.Cut(ctx, tt.a, tt.b); err != nil {
				t.Fatal(err)
			}
			poll(t, ctx, "the masters' verdict", func() bool { return migration(t, ctx, id).Phase.Decided() })
			if tt.heal {
				if err := c.Lab.Heal(ctx); err != nil {
					t.Fatal(err)
				}
			}
			node := oneCopy(t, ctx, "cut", 60*time.Second)
			m := migration(t, ctx, id)
			t.Logf("ended %s on %s (%s)", m.Phase, node, m.Reason)
			if want := map[cluster.Phase]string{cluster.PhaseDone: m.Target, cluster.PhaseFailed: m.Source}[m.Phase]; node != want {
				t.Errorf("ended %s, but it runs on %s", m.Phase, node)
			}
			alive(t, p)
		})
	}
}
