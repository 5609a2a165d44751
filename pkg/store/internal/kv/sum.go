package kv

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"github.com/vzcluster/vzcluster/pkg/store"
)

// The sum of a state is the sum of the hashes of its keys, modulo 2^64: it can be kept up to date at the price of what a transaction
// changes, and depends on nothing but the state. It tells states apart that differ by accident, not by intent.

// weigh is what one key adds to the sum.
func weigh(key string, kv store.KV) uint64 {
	var head [16]byte
	binary.LittleEndian.PutUint64(head[:], uint64(len(key)))
	binary.LittleEndian.PutUint64(head[8:], uint64(kv.Rev))
	d := xxhash.New()
	_, _ = d.Write(head[:]) // never fails
	_, _ = d.WriteString(key)
	_, _ = d.Write(kv.Value)
	return d.Sum64()
}

// swap takes out of the sum what key was and puts in what it becomes; nil: nothing.
func (m *Machine) swap(key string, becomes *store.KV) {
	if was, ok := m.data[key]; ok {
		m.sum -= weigh(key, was)
	}
	if becomes != nil {
		m.sum += weigh(key, *becomes)
	}
}

// Sum returns the sum of the state. Members with the same state have the same sum.
func (m *Machine) Sum() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sum
}
