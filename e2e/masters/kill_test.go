package masters

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/e2e/lab"
)

// kills is how often the leader is killed on each back end.
const kills = 20

// failoverLimit is what no fail-over may exceed, even on a machine that is busy with other things.
const failoverLimit = 20 * time.Second

// TestLeaderKilledRaft kills the leader again and again under load. See killLeaders.
func TestLeaderKilledRaft(t *testing.T) {
	killLeaders(t, lab.Config{Name: "masters-kill", Masters: 3})
}

// killLeaders kills the leading master's process by SIGKILL while clients write and read, as often as wanted. No acknowledged write
// may be lost, no write may be done twice, no read may be stale; and each time somebody else takes over.
func killLeaders(t *testing.T, cfg lab.Config) {
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Minute)
	defer cancel()
	r := drive(t, up(t, cfg))
	r.progress(t, ctx, 50)
	var gaps []time.Duration
	for i := range kills {
		victim := r.leader(t, ctx)
		r.progress(t, ctx, 10)
		at := time.Now()
		if err := r.Lab.Kill(victim, lab.RoleMaster, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		// Kill returns when the process is gone: what is acknowledged from now on is not its own word.
		gone := time.Now()
		var first time.Time
		limit, stop := context.WithTimeout(ctx, failoverLimit)
		poll(t, limit, "kill of "+victim+": a write through the others", func() (err error) {
			var ok bool
			if first, ok = r.history.FirstAfter(gone); !ok {
				_, err = r.status(limit)
				if err == nil {
					err = errNoWrite
				}
			}
			return err
		})
		stop()
		gaps = append(gaps, first.Sub(at))
		if err := r.Lab.Start(victim); err != nil {
			t.Fatal(err)
		}
		r.answers(t, ctx, victim)
		if testing.Verbose() {
			t.Logf("kill %2d of %s: first write after %v", i+1, victim, first.Sub(at).Round(time.Millisecond))
		}
	}
	median, worst := medianAndWorst(gaps)
	t.Logf("kill -9 of the leader, %d times: first write after the kill: median %v, worst %v", kills,
		median.Round(time.Millisecond), worst.Round(time.Millisecond))
	r.end(t, ctx)
}

// TestLeaderKilledEtcd is the same with the state in an etcd of three members, which live on.
func TestLeaderKilledEtcd(t *testing.T) {
	killLeaders(t, lab.Config{Name: "masters-killetcd", Masters: 3, Store: lab.StoreEtcd})
}
