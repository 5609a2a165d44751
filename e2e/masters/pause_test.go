package masters

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vzcluster/vzcluster/e2e/lab"
)

// pauseTime is how long the leader stands still: longer than every election, and so long that it still takes itself for the leader
// when it goes on.
const pauseTime = 10 * time.Second

// askEvery is how often the paused leader is asked. All these reads end at the same time: of more of them for each register the
// checker would have to try too many orders.
const askEvery = 800 * time.Millisecond

// TestLeaderPausedRaft stops the leader for ten seconds. See pauseLeader.
func TestLeaderPausedRaft(t *testing.T) {
	pauseLeader(t, lab.Config{Name: "masters-pause", Masters: 3})
}

// pauseLeader stops the leader's process by SIGSTOP while clients write and read, and asks that very master for reads all the time:
// they wait in its sockets until it goes on. What it then answers must not be what was true before.
func pauseLeader(t *testing.T, cfg lab.Config) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	r := drive(t, up(t, cfg))
	r.progress(t, ctx, 50)
	victim := r.leader(t, ctx)
	if err := r.Lab.Kill(victim, lab.RoleMaster, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	var asked, answered atomic.Int64
	var readers errgroup.Group
	every := time.NewTicker(askEvery)
	defer every.Stop()
	over := time.After(pauseTime)
	// 100 is far above the numbers of the load's own clients.
	for client, paused := 100, true; paused; {
		select {
		case <-every.C:
			client++
			asked.Add(1)
			readers.Go(func() error {
				ok, err := r.load.ReadOf(ctx, client, r.addr(victim), pauseTime+10*time.Second)
				if ok {
					answered.Add(1)
				}
				return err
			})
		case <-over:
			paused = false
		}
	}
	first, ok := r.history.FirstAfter(stopped.Add(time.Second))
	if !ok {
		t.Errorf("no write was acknowledged in the %v that %s stood still", pauseTime, victim)
	} else {
		t.Logf("the next write after the stop of %s came after %v", victim, first.Sub(stopped).Round(time.Millisecond))
	}
	if err := r.Lab.Kill(victim, lab.RoleMaster, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := readers.Wait(); err != nil {
		t.Errorf("a read of the paused master: %v", err)
	}
	poll(t, ctx, victim+" follows", func() error {
		st, err := statusOf(ctx, r.addr(victim))
		if err == nil && st.Leader == "" {
			err = fmt.Errorf("it knows no leader")
		}
		return err
	})
	r.progress(t, ctx, 20)
	t.Logf("%d reads waited in the paused master, it answered %d of them with a value", asked.Load(), answered.Load())
	r.end(t, ctx)
}

// TestLeaderPausedEtcd is the same with the state in an etcd.
func TestLeaderPausedEtcd(t *testing.T) {
	pauseLeader(t, lab.Config{Name: "masters-pauseetcd", Masters: 3, Store: lab.StoreEtcd})
}
