package raftlog

import (
	"sync"

	"github.com/vzcluster/vzcluster/pkg/store"
)

// keptSums is how many sums a member remembers: more than another one can lag behind without being told a snapshot is better.
const keptSums = 4096

// sums remembers the sum of the state after each of the last entries.
type sums struct {
	mu   sync.Mutex
	ring [keptSums]store.Sum
	next int // where the next one goes
	n    int
}

func (s *sums) add(one store.Sum) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ring[s.next] = one
	s.next = (s.next + 1) % keptSums
	s.n = min(s.n+1, keptSums)
}

// forget drops everything: the state was replaced.
func (s *sums) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next, s.n = 0, 0
}

// last returns the newest n, newest first.
func (s *sums) last(n int) []store.Sum {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]store.Sum, 0, min(n, s.n))
	for i := range cap(out) {
		out = append(out, s.ring[(s.next-1-i+2*keptSums)%keptSums])
	}
	return out
}

// at returns the sum after the entry index.
func (s *sums) at(index uint64) (uint64, bool) {
	for _, one := range s.last(keptSums) {
		if one.Index == index {
			return one.Sum, true
		}
	}
	return 0, false
}

// Sums returns the sums of the state after the last n entries that this member has applied, newest first. Members that have applied
// the same entry must have the same sum after it; else one of them computes wrongly.
func (l *Log) Sums(n int) []store.Sum { return l.fsm.sums.last(n) }

// SumAt returns the sum after the entry index, if this member still knows it.
func (l *Log) SumAt(index uint64) (uint64, bool) { return l.fsm.sums.at(index) }
