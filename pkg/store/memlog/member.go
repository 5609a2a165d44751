package memlog

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/pkg/store/internal/term"
)

var _ store.Log = (*Member)(nil)

// giveUpPause is how long a member that gave up the leadership does not want it back.
const giveUpPause = time.Second

// Commit implements [store.Log].
func (m *Member) Commit(ctx context.Context, t store.Txn) (store.Rev, error) {
	if err := t.Check(); err != nil {
		return 0, err
	}
	fault := m.fate(t)
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("%w: %w", store.ErrUnknown, err)
	}
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if own, ok := term.Of(ctx); m.c.leader != m || ok && own != m.c.term || fault == NotLeader {
		return 0, store.ErrNotLeader
	}
	switch fault {
	case Conflict:
		return m.c.machine.Rev(), store.ErrConflict
	case UnknownLost:
		return 0, store.ErrUnknown
	}
	// Revisions have gaps, as with the other logs.
	m.c.rev++
	rev, err := m.c.machine.Apply(m.c.rev, clone(t))
	if fault == UnknownDone {
		return 0, store.ErrUnknown
	}
	return rev, err
}

func (m *Member) fate(t store.Txn) Fault {
	m.c.mu.Lock()
	hook := m.c.hook
	if len(m.faults) > 0 {
		fault := m.faults[0]
		m.faults = m.faults[1:]
		m.c.mu.Unlock()
		return fault
	}
	m.c.mu.Unlock()
	if hook == nil {
		return None
	}
	return hook(m.index, t)
}

func clone(t store.Txn) store.Txn {
	t.Put = maps.Clone(t.Put)
	for key, value := range t.Put {
		t.Put[key] = bytes.Clone(value)
	}
	t.Del = slices.Clone(t.Del)
	return t
}

// Follow implements [store.Log].
func (m *Member) Follow(ctx context.Context, apply func(store.Batch)) error {
	return m.c.machine.Follow(ctx, apply, func() <-chan struct{} {
		m.c.mu.Lock()
		defer m.c.mu.Unlock()
		if m.cut {
			return m.c.changed
		}
		return nil
	})
}

// Lead implements [store.Log].
func (m *Member) Lead(ctx context.Context, run func(ctx context.Context, term uint64) error) error {
	m.stand(true)
	defer m.stand(false)
	for ctx.Err() == nil {
		own, changed := m.leading()
		if own == 0 {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		if m.reign(ctx, own, changed, run) {
			m.stand(false)
			select {
			case <-time.After(giveUpPause):
			case <-ctx.Done():
			}
			m.stand(true)
		}
	}
	return nil
}

// reign calls run for the leadership of term own, and tells whether run returned by itself.
func (m *Member) reign(ctx context.Context, own uint64, changed <-chan struct{}, run func(context.Context, uint64) error) (gaveUp bool) {
	runCtx, cancel := context.WithCancel(term.With(ctx, own))
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Why it gave up is for run to log; the log only has to find another leader.
		_ = run(runCtx, own)
	}()
	for {
		select {
		case <-done:
			return ctx.Err() == nil
		case <-changed:
			var now uint64
			if now, changed = m.leading(); now == own {
				continue
			}
		case <-ctx.Done():
		}
		cancel()
		<-done
		return false
	}
}

// leading returns the term in which m leads, 0 if it doesn't, and a channel that is closed when that may change.
func (m *Member) leading() (uint64, <-chan struct{}) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if m.c.leader != m {
		return 0, m.c.changed
	}
	return m.c.term, m.c.changed
}

// stand makes m a candidate, or takes it out and has somebody else elected.
func (m *Member) stand(candidate bool) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	m.candidate = candidate
	if !candidate && m.c.leader == m {
		m.c.depose()
	}
	m.c.elect()
}

// Leader implements [store.Log].
func (m *Member) Leader() (string, bool) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if m.cut || m.c.leader == nil {
		return "", false
	}
	return m.c.leader.addr, true
}

// ReadIndex implements [store.Log].
func (m *Member) ReadIndex(ctx context.Context) (store.Rev, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if m.c.leader != m {
		return 0, store.ErrNotLeader
	}
	return m.c.machine.Rev(), nil
}
