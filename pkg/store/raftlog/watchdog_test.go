package raftlog

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchdog(t *testing.T) {
	const limit = 5 * time.Second
	for _, test := range []struct {
		name string
		took []time.Duration // of operations that follow each other
		want time.Duration   // when the watchdog barks at the latest; 0: never
	}{
		{"idle", nil, 0},
		{"quick ones for a long time", []time.Duration{time.Second, 4 * time.Second, 4 * time.Second}, 0},
		{"one that hangs", []time.Duration{time.Second, time.Hour}, 7 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var w watchdog
				start := time.Now()
				barked := make(chan error, 1)
				var at time.Duration
				go w.run(ctx, limit, func(err error) { at = time.Since(start); barked <- err })
				var ops sync.WaitGroup
				defer ops.Wait()
				ops.Go(func() {
					for _, d := range test.took {
						_ = w.do("append", func() error { time.Sleep(d); return nil })
					}
				})
				select {
				case err := <-barked:
					if test.want == 0 || at > test.want || at < limit {
						t.Errorf("barked after %v, want %v", at, test.want)
					}
					if !errors.Is(err, ErrDiskHung) || !strings.Contains(err.Error(), "append has not ended after 5s") {
						t.Errorf("said %q", err)
					}
				case <-time.After(time.Minute):
					if test.want != 0 {
						t.Error("did not bark")
					}
				}
			})
		})
	}
}

// A process that stood still for an hour comes back with one tick, not with an hour.
func TestWatchdogCountsItsOwnTicks(t *testing.T) {
	var w watchdog
	release := make(chan struct{})
	begun := make(chan struct{})
	done := make(chan error)
	go func() { done <- w.do("append", func() error { close(begun); <-release; return errors.New("failed") }) }()
	<-begun
	for want := 1; want < 4; want++ {
		if what, got := w.look(); what != "append" || got != want {
			t.Errorf("look %d: %q, %d", want, what, got)
		}
	}
	close(release)
	if err := <-done; err == nil {
		t.Error("the operation's error is lost")
	}
	if what, got := w.look(); got != 0 {
		t.Errorf("an operation that has ended is still counted: %q %d", what, got)
	}
}

func TestCanaryFailsOnce(t *testing.T) {
	var w watchdog
	if err := w.canary(t.Context(), filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("no error without a directory")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	if err := w.canary(ctx, dir); err != nil {
		t.Errorf("an orderly end: %v", err)
	}
}
