package raftlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// DefaultDiskLimit is how long one operation on the disk may take when Config.DiskLimit is 0.
const DefaultDiskLimit = 5 * time.Second

const (
	// watchTicks is how many times within the limit the watchdog looks.
	watchTicks = 20
	// canaryEvery is the pause between two writes of the canary.
	canaryEvery = time.Second
	canaryFile  = "canary"
	canarySize  = 4096
)

// ErrDiskHung: an operation on the disk did not end within the limit. The process must end without touching the disk again.
var ErrDiskHung = errors.New("the disk hangs")

// watchdog knows the operations on the disk that are under way. hashicorp/raft keeps a leader whose disk hangs: its heartbeats are
// not written anywhere. So somebody else must notice, and that somebody may not touch the disk itself.
type watchdog struct {
	mu   sync.Mutex
	ops  map[uint64]*operation
	next uint64
}

type operation struct {
	what  string
	ticks int // how often the watchdog has found it under way
}

// do calls f, which is one operation on the disk.
func (w *watchdog) do(what string, f func() error) error {
	w.mu.Lock()
	if w.ops == nil {
		w.ops = make(map[uint64]*operation)
	}
	w.next++
	id := w.next
	w.ops[id] = &operation{what: what}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.ops, id)
		w.mu.Unlock()
	}()
	return f()
}

// look counts one tick for every operation under way and returns the one that has the most.
func (w *watchdog) look() (what string, ticks int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, op := range w.ops {
		op.ticks++
		if op.ticks > ticks {
			what, ticks = op.what, op.ticks
		}
	}
	return what, ticks
}

// run calls hung, once, when an operation takes longer than limit. Ticks are counted instead of time: a process that was paused
// (SIGSTOP, a suspended machine) has a disk that works.
func (w *watchdog) run(ctx context.Context, limit time.Duration, hung func(error)) {
	tick := time.NewTicker(limit / watchTicks)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if what, ticks := w.look(); ticks > watchTicks {
			hung(fmt.Errorf("%w: %s has not ended after %v", ErrDiskHung, what, limit))
			return
		}
	}
}

// canary writes a file of its own in dir over and over, so that a disk that hangs or fails is noticed though nobody writes the log.
// It returns the first error, for which there is no second try, or nil when ctx ends. The blocks are allocated once: a full disk
// is the log's to find.
func (w *watchdog) canary(ctx context.Context, dir string) (err error) {
	var f *os.File
	if err := w.do("opening the canary file", func() (err error) {
		f, err = os.OpenFile(filepath.Join(dir, canaryFile), os.O_RDWR|os.O_CREATE, 0o600)
		return err
	}); err != nil {
		return fmt.Errorf("canary: %w", err)
	}
	defer f.Close()
	tick := time.NewTicker(canaryEvery)
	defer tick.Stop()
	page := make([]byte, canarySize)
	for n := 0; ; n++ {
		copy(page, fmt.Appendf(nil, "%020d\n", n))
		if err := w.do("write and fsync of the canary file", func() error {
			if _, err := f.WriteAt(page, 0); err != nil {
				return err
			}
			return f.Sync()
		}); err != nil {
			return fmt.Errorf("canary: %w", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
