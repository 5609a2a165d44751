package node

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// BootTime is the time since boot, sleep included. A monotonic clock that stands still while the host sleeps would prolong leases.
func BootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 1<<63 - 1 // every lease is over
	}
	return time.Duration(ts.Nano())
}

// lease is the agent's right to let a container run or to freeze one.
type lease struct {
	now func() time.Duration

	mu      sync.Mutex
	until   time.Duration
	renewed chan struct{}
}

func newLease(now func() time.Duration) *lease {
	return &lease{now: now, renewed: make(chan struct{})}
}

// renew makes the lease last until the given time, unless it lasts longer already.
func (l *lease) renew(until time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until <= l.until {
		return
	}
	l.until = until
	close(l.renewed)
	l.renewed = make(chan struct{})
}

// wait returns when the lease is valid.
func (l *lease) wait(ctx context.Context) error {
	for {
		l.mu.Lock()
		ok, renewed := l.now() < l.until, l.renewed
		l.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-renewed:
		}
	}
}
