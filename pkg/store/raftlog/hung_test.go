package raftlog_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vzcluster/vzcluster/pkg/store/raftlog"
)

// three runs three members of which the first leads.
func three(t *testing.T, change func(i int, c *raftlog.Config)) [3]*running {
	t.Helper()
	b := newBackend(t)
	var all [3]*running
	for i := range all {
		c := b.config(i)
		if change != nil {
			change(i, &c)
		}
		all[i] = run(t, c)
		if i == 0 {
			<-all[0].led
			continue
		}
		if err := all[0].AddVoter(t.Context(), id(i), raftAddr(i)); err != nil {
			t.Fatal(err)
		}
	}
	all[0].put(t, "x", "first")
	for _, m := range all {
		m.wait(t, "x", "first")
	}
	return all
}

// hashicorp/raft alone keeps such a leader for ever.
func TestLeaderWithAHungDiskIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		abandoned := make(chan error, 1)
		all := three(t, func(i int, c *raftlog.Config) {
			c.Abandon = func(err error) { abandoned <- err }
		})
		release := make(chan struct{})
		defer close(release)
		start := time.Now()
		go all[0].HangDisk(release)
		select {
		case <-all[1].led:
		case <-all[2].led:
		}
		if d := time.Since(start); d > 15*time.Second {
			t.Errorf("replaced after %v", d)
		}
		select {
		case err := <-abandoned:
			if !errors.Is(err, raftlog.ErrDiskHung) {
				t.Errorf("abandoned with %v", err)
			}
		default:
			t.Error("the process was not abandoned")
		}
		if err := all[0].stop(); !errors.Is(err, raftlog.ErrDiskHung) {
			t.Errorf("run returned %v", err)
		}
	})
}
