package main

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const ms = time.Millisecond

func TestMedianAndWorst(t *testing.T) {
	for _, tc := range []struct {
		name          string
		in            []time.Duration
		median, worst time.Duration
	}{
		{"nothing", nil, 0, 0},
		{"one", []time.Duration{7}, 7, 7},
		{"odd, unsorted", []time.Duration{9, 1, 5}, 5, 9},
		{"even", []time.Duration{40, 10, 20, 30}, 25, 40},
		{"before the freeze", []time.Duration{-5, -3}, -4, -3},
	} {
		if m, w := median(tc.in), worst(tc.in); m != tc.median || w != tc.worst {
			t.Errorf("%s: median %v, worst %v; want %v, %v", tc.name, m, w, tc.median, tc.worst)
		}
	}
}

// At least half of the values are not above the median, at least half not below; and the input stays as it was.
func TestMedianSplits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.SliceOfN(rapid.Uint64(), 1, 30).Draw(t, "values")
		before := slices.Clone(in)
		m := median(in)
		low, high := 0, 0
		for _, v := range in {
			if v <= m {
				low++
			}
			if v >= m {
				high++
			}
		}
		// With an even count the mean of the middle two is rounded down, onto the lower of them at most.
		if 2*low < len(in) || 2*high < len(in) {
			t.Fatalf("median %d: %d below or equal, %d above or equal, of %d", m, low, high, len(in))
		}
		if !slices.Equal(in, before) {
			t.Fatal("the input was changed")
		}
	})
}

func TestSummarizeLeavesBadMovesOut(t *testing.T) {
	moves := []Move{
		{Gap: 30 * ms, Frozen: 20 * ms, Total: time.Second, Wire: 100, Stages: []Stage{{"restore", 12 * ms, 5 * ms}, {"dump", 2 * ms, 10 * ms}}},
		{Gap: 50 * ms, Frozen: 40 * ms, Total: 3 * time.Second, Wire: 300, Stages: []Stage{{"dump", 4 * ms, 30 * ms}}},
		{Gap: 9 * time.Second, Err: "the connection broke"},
		{Gap: 9 * time.Second, Lost: 1},
		{Gap: 9 * time.Second, Lost: -1},
	}
	got := summarize(moves)
	if got.Moves != 5 || got.Failed != 3 {
		t.Errorf("%d moves, %d failed; want 5, 3", got.Moves, got.Failed)
	}
	if got.GapMedian != 40*ms || got.GapWorst != 50*ms || got.Frozen != 30*ms || got.FrozenWorst != 40*ms || got.Total != 2*time.Second || got.Wire != 200 {
		t.Errorf("figures %+v", got)
	}
	want := []Stage{{"dump", 3 * ms, 20 * ms}, {"restore", 12 * ms, 5 * ms}}
	if !slices.Equal(got.Stages, want) {
		t.Errorf("stages %v, want %v", got.Stages, want)
	}
}

func TestUnstaged(t *testing.T) {
	for _, tc := range []struct {
		name   string
		stages []Stage
		want   time.Duration
	}{
		{"no stages", nil, 100},
		{"a copy before, a destroy after", []Stage{{"copy", -50, 50}, {"destroy", 110, 20}}, 100},
		{"one that begins before", []Stage{{"arm", -50, 60}}, 90},
		{"gaps before, between and after", []Stage{{"a", 10, 20}, {"b", 50, 30}}, 50},
		{"overlapping, out of order", []Stage{{"b", 20, 60}, {"a", 0, 100}}, 0},
		{"one that ends after", []Stage{{"a", 0, 50}, {"b", 60, 500}}, 10},
	} {
		if got := (Move{Frozen: 100, Stages: tc.stages}).unstaged(); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}
