package master

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/vzcluster/vzcluster/pkg/store"
)

// step is one change that a plan wants. do works out the change again on the transaction's own reads, with the same pure function
// that the plan used, and does nothing if it is no longer wanted; it returns what to log once the change is stored.
type step struct {
	what string
	do   func(tx *store.Tx) (logged func(), err error)
}

// plan looks at everything and says what to change now, and when to look again at the latest (zero: when something changes).
type plan func(st *store.State, seen sight, now time.Time) (steps []step, wake time.Time)

// retryPause is how long a loop waits after a change that could not be stored for a reason that may pass.
const retryPause = 500 * time.Millisecond

// loop runs a plan, again after everything that changes, until ctx ends. It fails only when this master can't lead any more.
func (t *term) loop(ctx context.Context, name string, p plan) error {
	for {
		// The sight first: a state read after it is at least as new as what woke us.
		seen, changed := t.live.sight()
		now := time.Now()
		wake, err := t.pass(ctx, name, p, seen, now)
		if err != nil {
			return err
		}
		if err := await(ctx, changed, wake, now); err != nil {
			return err
		}
	}
}

// every runs a plan that is only about the time gone by.
func (t *term) every(ctx context.Context, name string, p plan) error {
	for {
		seen, _ := t.live.sight()
		now := time.Now()
		wake, err := t.pass(ctx, name, p, seen, now)
		if err != nil {
			return err
		}
		if err := await(ctx, nil, wake, now); err != nil {
			return err
		}
	}
}

// pass runs a plan once and carries out its steps. The loop looks again at wake.
func (t *term) pass(ctx context.Context, name string, p plan, seen sight, now time.Time) (wake time.Time, err error) {
	steps, wake := p(t.m.store.View(), seen, now)
	for _, s := range steps {
		if err := t.carryOut(ctx, s); err != nil {
			if ctx.Err() != nil || errors.Is(err, store.ErrNotLeader) || errors.Is(err, store.ErrStopped) {
				return wake, fmt.Errorf("%s loop: %s: %w", name, s.what, err)
			}
			slog.Warn("change not stored, will be tried again", "loop", name, "what", s.what, "err", err)
			wake = soonest(wake, now.Add(retryPause))
		}
	}
	return wake, nil
}

// carryOut stores one step.
func (t *term) carryOut(ctx context.Context, s step) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var logged func()
	if _, err := t.m.store.Update(ctx, func(tx *store.Tx) (err error) {
		logged, err = s.do(tx)
		return err
	}); err != nil {
		return err
	}
	if logged != nil {
		logged()
	}
	return nil
}

// soonest returns the earlier of two times, of which zero means never.
func soonest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
