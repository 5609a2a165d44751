package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// ErrStopped: the store no longer follows its log, because its Run has returned.
var ErrStopped = errors.New("store: stopped")

// Store is the records of the cluster: a mirror of a [Log] in memory, and the one way to change them. See the package comment.
type Store struct {
	log  Log
	turn *semaphore.Weighted // see Update

	state atomic.Pointer[State]

	mu      sync.Mutex
	ready   bool          // the first image is in
	changed chan struct{} // closed and replaced at every new state
	stopped chan struct{} // closed when Run returns
}

// New returns a store over log. Nothing is in it before Run runs.
func New(log Log) *Store {
	s := &Store{
		log:     log,
		turn:    semaphore.NewWeighted(everybody),
		changed: make(chan struct{}),
		stopped: make(chan struct{}),
	}
	s.state.Store(newState())
	return s
}

// Run follows the log and keeps the mirror until ctx ends, which is no error. It is called once. It fails with a *FormatError when
// a newer binary has changed the format of the records, and when a record can't be decoded: this process must then end.
func (s *Store) Run(ctx context.Context) error {
	defer close(s.stopped)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	failed := false
	err := s.log.Follow(ctx, func(b Batch) {
		if failed {
			return
		}
		if err := s.take(b); err != nil {
			failed = true
			cancel(err)
		}
	})
	if failed {
		return context.Cause(ctx)
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("follow the log: %w", err)
	}
	return nil
}

// take is the only writer of s.state.
func (s *Store) take(b Batch) error {
	next, err := s.View().apply(b)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Store(next)
	s.ready = true
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// View returns the newest snapshot that this member has. It is empty, at revision 0, before the first image came in; on a follower
// it may lag behind the leader.
func (s *Store) View() *State { return s.state.Load() }

// Wait returns a snapshot newer than after, at once if there is one. It misses nothing: whoever asks again with the revision of
// the snapshot that it has worked on sees every later state or one that contains it. It fails when ctx ends and with ErrStopped.
func (s *Store) Wait(ctx context.Context, after Rev) (*State, error) {
	return s.until(ctx, func(st *State) bool { return st.rev > after })
}

// reach returns the first snapshot that holds rev.
func (s *Store) reach(ctx context.Context, rev Rev) (*State, error) {
	return s.until(ctx, func(st *State) bool { return st.rev >= rev })
}

// until returns the first snapshot, not before the first image, that is as wanted.
func (s *Store) until(ctx context.Context, wanted func(*State) bool) (*State, error) {
	for {
		s.mu.Lock()
		st, ready, changed := s.state.Load(), s.ready, s.changed
		s.mu.Unlock()
		if ready && wanted(st) {
			return st, nil
		}
		select {
		case <-changed:
		case <-s.stopped:
			return nil, ErrStopped
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Fresh returns a snapshot that holds everything acknowledged before the call, confirmed with a quorum: a linearizable read.
// It works on the leader; elsewhere it fails with ErrNotLeader.
func (s *Store) Fresh(ctx context.Context) (*State, error) {
	rev, err := s.log.ReadIndex(ctx)
	if err != nil {
		return nil, err
	}
	return s.reach(ctx, rev)
}

// Leader tells the API address of the present leader, and whether there is one that is known.
func (s *Store) Leader() (addr string, ok bool) { return s.log.Leader() }
