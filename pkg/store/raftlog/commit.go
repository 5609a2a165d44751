package raftlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/pkg/store/internal/term"
)

// Commit implements [store.Log]. It waits 30 s at most.
func (l *Log) Commit(ctx context.Context, t store.Txn) (store.Rev, error) {
	if err := t.Check(); err != nil {
		return 0, err
	}
	if !l.isUp() || l.raft.State() != raft.Leader {
		return 0, store.ErrNotLeader
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	now := l.raft.CurrentTerm()
	if own, ok := term.Of(ctx); ok && own != now {
		return 0, store.ErrNotLeader
	}
	data, err := json.Marshal(proposal{proposalVersion, now, t})
	if err != nil {
		return 0, fmt.Errorf("encode the proposal: %w", err)
	}
	var got outcome
	answer := make(chan outcome, 1)
	err = l.calls.await(ctx, commitTimeout, func() error {
		future := l.raft.Apply(data, enqueueTimeout)
		if err := future.Error(); err != nil {
			return err
		}
		answer <- future.Response().(outcome)
		return nil
	})
	if err != nil {
		return 0, fate(err)
	}
	got = <-answer
	return got.rev, got.err
}

// fate tells what an error of raft means for the proposal that it answers.
func fate(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader),
		errors.Is(err, raft.ErrLeadershipTransferInProgress),
		errors.Is(err, errStopped),
		errors.Is(err, raft.ErrEnqueueTimeout): // the leader hangs, and never took it
		return fmt.Errorf("%w: %w", store.ErrNotLeader, err)
	default:
		// Appended, or we can't tell: leadership lost, shut down, a failed write, our own deadline.
		return fmt.Errorf("%w: %w", store.ErrUnknown, err)
	}
}

// ReadIndex implements [store.Log].
//
// What this leader has acknowledged was applied to its mirror before, and what its predecessors have acknowledged was applied
// before its first barrier; so the mirror's revision at the call is the answer, if nobody else has become the leader since. That
// is what the quorum confirms.
func (l *Log) ReadIndex(ctx context.Context) (store.Rev, error) {
	if !l.isUp() || l.raft.State() != raft.Leader {
		return 0, store.ErrNotLeader
	}
	now := l.raft.CurrentTerm()
	if l.barrier.Load() != now {
		if err := l.commitBarrier(ctx, now); err != nil {
			return 0, readError(ctx, err)
		}
	}
	rev := l.machine.Rev()
	confirm := func() error { return l.raft.VerifyLeader().Error() }
	if l.pulse.suspect(time.Now()) {
		confirm = func() error { return l.raft.Barrier(barrierTimeout).Error() }
	}
	if err := l.calls.await(ctx, verifyTimeout, confirm); err != nil {
		return 0, readError(ctx, err)
	}
	if l.raft.CurrentTerm() != now {
		return 0, store.ErrNotLeader
	}
	return rev, nil
}

// readError says ErrNotLeader for all that went wrong but the caller's own deadline: nothing was changed, so it is never unknown.
func readError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", store.ErrNotLeader, err)
}

// commitBarrier has everything before now applied here, and remembers that if the term is still the same afterwards.
func (l *Log) commitBarrier(ctx context.Context, now uint64) error {
	if err := l.calls.await(ctx, barrierTimeout, func() error { return l.raft.Barrier(barrierTimeout).Error() }); err != nil {
		return err
	}
	if l.raft.CurrentTerm() != now || l.raft.State() != raft.Leader {
		return raft.ErrLeadershipLost
	}
	l.barrier.Store(now)
	return nil
}
