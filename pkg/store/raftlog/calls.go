package raftlog

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errHung: raft did not answer in time.
var errHung = errors.New("raft: no answer in time")

// calls are the calls into raft that are under way. Any of them may hang for ever, so nobody waits for one without a limit.
type calls struct {
	mu      sync.Mutex
	n       int
	idle    chan struct{} // closed when n is 0, once somebody waits for that
	closing bool
}

// await calls f and waits for it at most d and as long as ctx lasts. What f does later is lost. errStopped: f was not called.
func (c *calls) await(ctx context.Context, d time.Duration, f func() error) error {
	if !c.begin() {
		return errStopped
	}
	done := make(chan error, 1)
	go func() {
		defer c.end()
		done <- f()
	}()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return errHung
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *calls) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return false
	}
	c.n++
	return true
}

func (c *calls) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n--
	if c.closing && c.n == 0 {
		close(c.idle)
	}
}

// drain lets no further call in and waits for those under way, at most d.
func (c *calls) drain(d time.Duration) {
	c.mu.Lock()
	c.closing = true
	c.idle = make(chan struct{})
	if c.n == 0 {
		close(c.idle)
	}
	c.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.idle:
	case <-timer.C:
	}
}
