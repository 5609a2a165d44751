package raftlog

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"

	"github.com/vzcluster/vzcluster/pkg/store/internal/term"
)

// againAfter is how long a leader waits before it tries again what failed: its barrier, or its run when nobody else would take over.
const againAfter = time.Second

// Lead implements [store.Log]. Only one call at a time is possible.
func (l *Log) Lead(ctx context.Context, run func(ctx context.Context, term uint64) error) error {
	if !l.leadLock.TryLock() {
		return errors.New("raft: Lead is already running")
	}
	defer l.leadLock.Unlock()
	if err := l.up(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	for {
		// The channel only tells when to look: it may hold news that is out of date.
		if l.raft.State() == raft.Leader {
			if wait := l.reign(ctx, run); wait {
				l.pause(ctx)
			}
		} else {
			select {
			case <-l.raft.LeaderCh():
			case <-ctx.Done():
			case <-l.stopped:
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-l.stopped:
			return errStopped
		default:
		}
	}
}

// pause waits a moment, or until the leadership may have changed.
func (l *Log) pause(ctx context.Context) {
	timer := time.NewTimer(againAfter)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.raft.LeaderCh():
	case <-ctx.Done():
	case <-l.stopped:
	}
}

// reign calls run for one leadership and returns when that is over and run has ended. wait: it should not be tried again at once.
func (l *Log) reign(ctx context.Context, run func(context.Context, uint64) error) (wait bool) {
	own := l.raft.CurrentTerm()
	log := l.log.With("term", own)
	if err := l.commitBarrier(ctx, own); err != nil {
		if ctx.Err() == nil {
			log.Warn("no barrier: not leading yet", "err", err)
		}
		return true
	}
	log.Info("leading")
	runCtx, cancel := context.WithCancel(term.With(ctx, own))
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- run(runCtx, own) }()

	for {
		select {
		case err := <-done:
			if ctx.Err() != nil || !l.leads(own) {
				return false
			}
			log.Warn("giving the leadership up", "err", err)
			if err := l.calls.await(ctx, transferTimeout, func() error { return l.raft.LeadershipTransfer().Error() }); err != nil {
				log.Warn("nobody took the leadership", "err", err)
			}
			return l.leads(own)
		case <-l.raft.LeaderCh():
			// Lost, or lost and regained: then the term is another. Or old news.
			if l.leads(own) {
				continue
			}
			log.Warn("leadership lost")
		case <-ctx.Done():
		case <-l.stopped:
		}
		cancel()
		<-done
		return false
	}
}

func (l *Log) leads(own uint64) bool {
	return l.raft.State() == raft.Leader && l.raft.CurrentTerm() == own
}
