// Package kv is the state machine that the logs in this repository share: keys with revisions, transactions checked against them,
// and followers that read what happened at their own pace.
package kv

import (
	"context"
	"maps"
	"sync"

	"github.com/vzcluster/vzcluster/pkg/store"
)

const (
	// tailBatches and tailBytes bound what is kept for followers that are behind. One that is further behind gets a full image,
	// so a slow follower costs the log neither time nor memory.
	tailBatches = 1024
	tailBytes   = 8 << 20
)

// Machine is the state. Its methods may be called at the same time.
type Machine struct {
	mu      sync.Mutex
	data    map[string]store.KV
	rev     store.Rev
	sum     uint64        // see Sum
	tail    []store.Batch // the last batches, oldest first
	size    int           // bytes of values in tail
	next    uint64        // number of the batch that comes after tail
	changed chan struct{} // closed and replaced at every change
}

// New returns an empty machine.
func New() *Machine {
	return &Machine{data: make(map[string]store.KV), changed: make(chan struct{})}
}

// Apply checks t's preconditions and carries it out at revision rev, which must be higher than every one before. It returns rev, or
// the revision of the unchanged state and [store.ErrConflict]. The result depends on nothing but the arguments of all calls so far.
// t's values belong to the machine afterwards.
func (m *Machine) Apply(rev store.Rev, t store.Txn) (store.Rev, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, want := range t.If {
		if m.data[key].Rev != want {
			return m.rev, store.ErrConflict
		}
	}
	b := store.Batch{Rev: rev, Put: make(map[string]store.KV, len(t.Put)), Del: t.Del}
	for key, value := range t.Put {
		kv := store.KV{Value: value, Rev: rev}
		m.swap(key, &kv)
		m.data[key], b.Put[key] = kv, kv
	}
	for _, key := range t.Del {
		m.swap(key, nil)
		delete(m.data, key)
	}
	m.rev = rev
	m.tail = append(m.tail, b)
	m.size += sizeOf(b)
	m.next++
	for len(m.tail) > tailBatches || len(m.tail) > 1 && m.size > tailBytes {
		m.size -= sizeOf(m.tail[0])
		m.tail[0] = store.Batch{} // the array outlives the slice
		m.tail = m.tail[1:]
	}
	m.wake()
	return rev, nil
}

// Replace puts a full image in the place of the state; every follower gets it.
func (m *Machine) Replace(rev store.Rev, data map[string]store.KV) {
	var sum uint64
	for key, kv := range data {
		sum += weigh(key, kv)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.data, m.rev, m.sum = data, rev, sum
	m.tail, m.size = nil, 0
	m.next++ // a number that nobody finds in the tail
	m.wake()
}

// Image returns the state; the map is the caller's, the values are not to be changed.
func (m *Machine) Image() (store.Rev, map[string]store.KV) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rev, maps.Clone(m.data)
}

// Rev returns the revision of the state.
func (m *Machine) Rev() store.Rev {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rev
}

// Get returns the value of key, which is not to be changed.
func (m *Machine) Get(key string) ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kv, ok := m.data[key]
	return kv.Value, ok
}

// Follow implements [store.Log]. hold, if not nil, is asked before each delivery for a channel to wait for.
func (m *Machine) Follow(ctx context.Context, apply func(store.Batch), hold func() <-chan struct{}) error {
	seen, first := uint64(0), true
	for {
		if hold != nil {
			if ch := hold(); ch != nil {
				select {
				case <-ch:
					continue
				case <-ctx.Done():
					return nil
				}
			}
		}
		m.mu.Lock()
		batches, changed := m.after(seen, first), m.changed
		seen, first = m.next, false
		m.mu.Unlock()
		for _, b := range batches {
			if ctx.Err() != nil {
				return nil
			}
			apply(b)
		}
		if len(batches) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// after returns what a follower that has seen all batches before number seen lacks: from the tail, or else an image.
func (m *Machine) after(seen uint64, first bool) []store.Batch {
	missing := m.next - seen
	if !first && missing <= uint64(len(m.tail)) {
		// A copy: the elements of the tail are cleared when they leave it.
		return append([]store.Batch(nil), m.tail[uint64(len(m.tail))-missing:]...)
	}
	return []store.Batch{{Rev: m.rev, Reset: true, Put: maps.Clone(m.data)}}
}

func (m *Machine) wake() {
	close(m.changed)
	m.changed = make(chan struct{})
}

func sizeOf(b store.Batch) int {
	n := 0
	for key, kv := range b.Put {
		n += len(key) + len(kv.Value)
	}
	return n
}
