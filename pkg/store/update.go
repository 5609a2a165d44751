package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"
)

const (
	// everybody is the weight of a turn that excludes all others.
	everybody = 1 << 20
	// patience is how many conflicts an Update takes beside others before it asks them to wait.
	patience = 2
	// maxAttempts bounds the retries of one Update; with its own turn it is only beaten by a writer that is no longer the leader.
	maxAttempts = 12
	// backoffMin and backoffMax bound the pause after a conflict, before jitter of half of it either way.
	backoffMin = time.Millisecond
	backoffMax = 100 * time.Millisecond
)

// Update runs fn on the newest snapshot and commits what it wrote, all or nothing, if what it read is still true then; else it
// runs fn again on a newer snapshot, a bounded number of times. So fn may run more than once and must do nothing but read and
// write the Tx. When fn fails nothing is written and its error is returned as it is. When fn changed nothing, nothing is proposed.
//
// It returns a snapshot that holds the committed writes: the caller, and everybody who calls View on this member later, reads them.
// Errors: ErrConflict (it gave up), ErrNotLeader, ErrTooLarge, ErrInvalid: nothing was written. ErrUnknown: perhaps it was, or will be.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) (*State, error) {
	if _, err := s.reach(ctx, 0); err != nil {
		return nil, fmt.Errorf("wait for the first image: %w", err)
	}
	var err error
	for attempt := range maxAttempts {
		var st *State
		st, err = s.attempt(ctx, fn, attempt >= patience)
		var conflict *conflictError
		if !errors.As(err, &conflict) {
			return st, err
		}
		if err := s.pause(ctx, attempt, conflict); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("gave up after %d attempts: %w", maxAttempts, err)
}

// conflictError is an ErrConflict of the log (not one that the closure returned), with what is known about it.
type conflictError struct{ from, at Rev }

func (e *conflictError) Error() string { return ErrConflict.Error() }
func (e *conflictError) Unwrap() error { return ErrConflict }

// attempt runs fn once. Attempts run beside each other; one that has lost too often runs alone, so that a long range read is not
// starved by small writes. All writers of a cluster are in the leader's process, so being alone there is being alone.
func (s *Store) attempt(ctx context.Context, fn func(*Tx) error, alone bool) (*State, error) {
	weight := int64(1)
	if alone {
		weight = everybody
	}
	if err := s.turn.Acquire(ctx, weight); err != nil {
		return nil, err
	}
	defer s.turn.Release(weight)

	base := s.View()
	tx := newTx(base)
	if err := fn(tx); err != nil {
		return nil, err
	}
	t, changed, err := tx.txn()
	if err != nil {
		return nil, err
	}
	if !changed {
		return base, nil
	}
	rev, err := s.log.Commit(ctx, t)
	switch {
	case errors.Is(err, ErrConflict):
		return nil, &conflictError{base.rev, rev}
	case err != nil:
		return nil, err
	}
	st, err := s.reach(ctx, rev)
	if err != nil {
		return nil, fmt.Errorf("%w: committed at revision %d, but not seen here: %w", ErrUnknown, rev, err)
	}
	return st, nil
}

// pause waits until the mirror shows what c ran into, or for the back-off if that is not known.
func (s *Store) pause(ctx context.Context, attempt int, c *conflictError) error {
	if c.at > c.from {
		// What refused us comes for certain, and another try before it would be refused again.
		_, err := s.reach(ctx, c.at)
		return err
	}
	d := min(backoffMin<<attempt, backoffMax)
	select {
	case <-time.After(d/2 + mathrand.N(d)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Lead runs run whenever this member is the leader, as [Log.Lead] does, but only once the mirror holds everything that was
// acknowledged before; the first leader of all also founds the cluster (see [Meta]). The term that run is told is the log's plus
// [Meta].TermBase.
func (s *Store) Lead(ctx context.Context, run func(ctx context.Context, term uint64) error) error {
	return s.log.Lead(ctx, func(ctx context.Context, term uint64) error {
		st, err := s.Fresh(ctx)
		if err != nil {
			return fmt.Errorf("catch up as the leader: %w", err)
		}
		if st.metaRev == 0 {
			if st, err = s.Update(ctx, found); err != nil {
				return fmt.Errorf("found the cluster: %w", err)
			}
		}
		return run(ctx, st.meta.TermBase+term)
	})
}

func found(tx *Tx) error {
	if tx.Meta().Format != 0 {
		return nil
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	tx.SetMeta(Meta{ClusterID: hex.EncodeToString(id[:]), Format: Format, Created: time.Now().UTC()})
	return nil
}
