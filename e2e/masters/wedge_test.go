package masters

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestFollowerWedged: a follower whose disk stalls goes on answering heartbeats, and takes no entry. With its watchdog nearly off, so
// that it does not end, the leader must raise an alarm; and when the disk is well again the follower must catch up by itself
// (hashicorp/raft #612: with pipelining it may never).
func TestFollowerWedged(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c, all := onDisks(t, ctx, "masters-wedge", "--disk-limit", "1h")
	r := drive(t, c)
	r.progress(t, ctx, 50)
	leader := r.leader(t, ctx)
	victim := r.follower(t, ctx)
	all[victim].Hang()
	alarms := func(ctx context.Context) (string, error) {
		st, err := r.statusBut(ctx, victim)
		if err == nil && st.Leader != leader {
			t.Errorf("%s leads now: the test shows nothing", st.Leader)
		}
		return strings.Join(st.Alarms, "\n"), err
	}
	limit, stop := context.WithTimeout(ctx, 40*time.Second)
	defer stop()
	poll(t, limit, "an alarm", func() error {
		got, err := alarms(limit)
		if err == nil && !strings.Contains(got, "master "+victim+" answers but takes no entries") {
			err = fmt.Errorf("alarms: %q", got)
		}
		return err
	})
	r.progress(t, ctx, 100)
	if p := process(t, c, victim); !p.Running {
		t.Fatalf("the master of %s has ended: %s; the test shows nothing", victim, p.Exit)
	}
	all[victim].Heal()
	limit, stop = context.WithTimeout(ctx, 40*time.Second)
	defer stop()
	poll(t, limit, "the end of the alarm", func() error {
		got, err := alarms(limit)
		if err == nil && strings.Contains(got, victim) {
			err = fmt.Errorf("alarms: %q", got)
		}
		return err
	})
	r.end(t, ctx)
}
