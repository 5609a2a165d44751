package raftlog

import (
	"testing"

	"github.com/vzcluster/vzcluster/pkg/store"
)

func TestSums(t *testing.T) {
	var s sums
	if got := s.last(3); len(got) != 0 {
		t.Errorf("empty: %v", got)
	}
	for i := range uint64(keptSums + 10) {
		s.add(store.Sum{Index: i, Sum: i * 7})
	}
	got := s.last(2)
	if len(got) != 2 || got[0] != (store.Sum{Index: keptSums + 9, Sum: (keptSums + 9) * 7}) || got[1].Index != keptSums+8 {
		t.Errorf("last two: %v", got)
	}
	if sum, ok := s.at(10); !ok || sum != 70 {
		t.Errorf("the oldest kept: %d, %v", sum, ok)
	}
	if _, ok := s.at(9); ok {
		t.Error("one that is no longer kept was found")
	}
	s.forget()
	if got := s.last(keptSums); len(got) != 0 {
		t.Errorf("after forget: %v", got)
	}
}
