package main

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestQuantile(t *testing.T) {
	ten := make([]time.Duration, 10)
	for i := range ten {
		ten[i] = time.Duration(i + 1)
	}
	tests := []struct {
		name string
		of   []time.Duration
		q    float64
		want time.Duration
	}{
		{"nothing", nil, 0.5, 0},
		{"one", ten[:1], 0.99, 1},
		{"half of ten", ten, 0.5, 5},
		{"p99 of ten is the longest", ten, 0.99, 10},
		{"all", ten, 1, 10},
	}
	for _, test := range tests {
		if got := quantile(test.of, test.q); got != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got, test.want)
		}
	}
}

// At least the part q of the values is at most the quantile, and it is one of them.
func TestQuantileRapid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ds []time.Duration
		for _, d := range rapid.SliceOfN(rapid.Int64Range(0, 1e9), 1, 300).Draw(t, "values") {
			ds = append(ds, time.Duration(d))
		}
		q := rapid.SampledFrom([]float64{0.01, 0.5, 0.9, 0.99, 1}).Draw(t, "q")
		s := sorted(ds)
		got, below := quantile(s, q), 0
		for _, d := range s {
			if d <= got {
				below++
			}
		}
		if float64(below) < q*float64(len(s))-1e-6 {
			t.Fatalf("only %d of %d values are at most the %v quantile", below, len(s), q)
		}
	})
}

func TestFigures(t *testing.T) {
	f := figures(2, 2*time.Second, []time.Duration{3, 1, 2, 4})
	if f.PerSecond != 2 || f.P50 != 2 || f.P99 != 4 || f.Max != 4 || f.Clients != 2 {
		t.Errorf("got %+v", f)
	}
	if f := figures(1, time.Second, nil); f.PerSecond != 0 || f.P50 != 0 {
		t.Errorf("of no writes: %+v", f)
	}
}

func TestMiddle(t *testing.T) {
	runs := []Figures{{PerSecond: 3}, {PerSecond: 1}, {PerSecond: 2}}
	if got := middle(runs); got.PerSecond != 2 {
		t.Errorf("got %v", got.PerSecond)
	}
	if runs[0].PerSecond != 3 {
		t.Error("the order of the runs has changed")
	}
}

func TestParseClients(t *testing.T) {
	if got, err := parseClients("1, 64"); err != nil || len(got) != 2 || got[1] != 64 {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "0", "x", "1,,2", "101"} {
		if _, err := parseClients(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
