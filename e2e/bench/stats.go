package main

import (
	"cmp"
	"slices"
	"time"
)

// Stage is one timed part of a move. At is its start, counted from the moment when the container was stopped: stages of before
// are negative.
type Stage struct {
	Name string        `json:"name"`
	At   time.Duration `json:"at_ns"`
	Took time.Duration `json:"took_ns"`
}

// Move is one measured migration.
type Move struct {
	Gap    time.Duration     `json:"gap_ns"`    // the longest time between two answers that the client saw
	Frozen time.Duration     `json:"frozen_ns"` // as the way itself measures it
	Total  time.Duration     `json:"total_ns"`  // from the command's start to its end
	Wire   uint64            `json:"wire_bytes"`
	Bytes  map[string]uint64 `json:"bytes,omitempty"` // by what was sent, as the way itself counts it
	Stages []Stage           `json:"stages,omitempty"`
	Lost   int64             `json:"lost"` // increments lost, or, if negative, repeated
	Err    string            `json:"error,omitempty"`
}

// good tells whether the move may be counted in the figures.
func (m Move) good() bool { return m.Err == "" && m.Lost == 0 }

// unstaged is the part of the frozen time that no stage covers.
func (m Move) unstaged() time.Duration {
	at := slices.SortedFunc(slices.Values(m.Stages), func(a, b Stage) int { return cmp.Compare(a.At, b.At) })
	var left, covered time.Duration // covered: all before this is accounted for
	for _, s := range at {
		if s.At > covered {
			left += min(s.At, m.Frozen) - min(covered, m.Frozen)
		}
		covered = max(covered, s.At+s.Took)
	}
	return left + max(0, m.Frozen-covered)
}

// Summary are the figures of all good moves of one way with one size.
type Summary struct {
	Moves       int           `json:"moves"`
	Failed      int           `json:"failed"`
	GapMedian   time.Duration `json:"gap_median_ns"`
	GapWorst    time.Duration `json:"gap_worst_ns"`
	Frozen      time.Duration `json:"frozen_median_ns"`
	FrozenWorst time.Duration `json:"frozen_worst_ns"`
	Total       time.Duration `json:"total_median_ns"`
	Wire        uint64        `json:"wire_bytes_median"`
	Unstaged    time.Duration `json:"unstaged_median_ns"` // frozen time that no stage covers
	// Stages are medians over the moves that had the stage, in the order of their median start.
	Stages []Stage `json:"stages"`
}

// summarize makes the figures of a row of moves.
func summarize(moves []Move) Summary {
	var good []Move
	for _, m := range moves {
		if m.good() {
			good = append(good, m)
		}
	}
	gap := func(m Move) time.Duration { return m.Gap }
	frozen := func(m Move) time.Duration { return m.Frozen }
	return Summary{
		Moves:       len(moves),
		Failed:      len(moves) - len(good),
		GapMedian:   median(column(good, gap)),
		GapWorst:    worst(column(good, gap)),
		Frozen:      median(column(good, frozen)),
		FrozenWorst: worst(column(good, frozen)),
		Total:       median(column(good, func(m Move) time.Duration { return m.Total })),
		Wire:        median(column(good, func(m Move) uint64 { return m.Wire })),
		Unstaged:    median(column(good, Move.unstaged)),
		Stages:      stages(good),
	}
}

func stages(moves []Move) []Stage {
	at, took := map[string][]time.Duration{}, map[string][]time.Duration{}
	for _, m := range moves {
		for _, s := range m.Stages {
			at[s.Name] = append(at[s.Name], s.At)
			took[s.Name] = append(took[s.Name], s.Took)
		}
	}
	out := make([]Stage, 0, len(at))
	for name := range at {
		out = append(out, Stage{name, median(at[name]), median(took[name])})
	}
	slices.SortFunc(out, func(a, b Stage) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Name, b.Name)) })
	return out
}

func column[T any](moves []Move, value func(Move) T) []T {
	out := make([]T, len(moves))
	for i, m := range moves {
		out[i] = value(m)
	}
	return out
}

// median is the middle value, or the mean of the two in the middle; 0 of nothing.
func median[T ~int64 | ~uint64](values []T) T {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	i := len(s) / 2
	if len(s)%2 == 1 {
		return s[i]
	}
	return s[i-1] + (s[i]-s[i-1])/2
}

// worst is the largest value; 0 of nothing.
func worst[T ~int64 | ~uint64](values []T) T {
	if len(values) == 0 {
		return 0
	}
	return slices.Max(values)
}
