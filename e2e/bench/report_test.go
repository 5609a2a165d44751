package main

import (
	"strings"
	"testing"
	"time"
)

// The tables are for people: the whole text is the assertion.
func TestResultTable(t *testing.T) {
	var b strings.Builder
	r := Result{
		MiB: 64, Load: "0.50 0.40 0.30",
		Ours: Summary{Moves: 10, Failed: 1, GapMedian: 80 * ms, GapWorst: 95500 * time.Microsecond, Frozen: 70 * ms, FrozenWorst: 90 * ms,
			Total: 2 * time.Second, Wire: 140 << 20, Stages: []Stage{{"source: copy", -time.Second, 900 * ms}, {"source: freeze", 0, ms}}},
		Classic: Summary{Moves: 10, GapMedian: 400 * ms, GapWorst: 500 * ms, Frozen: 410 * ms, FrozenWorst: 510 * ms, Total: 2 * time.Second, Wire: 140 << 20},
		Trouble: map[string][]string{oursName: {"move 3: the connection broke"}},
	}
	if err := r.write(&b); err != nil {
		t.Fatal(err)
	}
	want := `
Redis with 64 MiB (load afterwards 0.50 0.40 0.30)
                  vzcluster    classic  ratio
     gap, median    80.0 ms   400.0 ms   0.20
      gap, worst    95.5 ms   500.0 ms   0.19
  frozen, median    70.0 ms   410.0 ms   0.17
   frozen, worst    90.0 ms   510.0 ms   0.18
   total, median  2000.0 ms  2000.0 ms   1.00
    wire, median  140.0 MiB  140.0 MiB   1.00
          failed    1 of 10    0 of 10       
where the time goes: vzcluster (medians; stages overlap where both hosts work; the freeze begins at 0)
      at  -1000.0 ms  took  900.0 ms  source: copy
      at      0.0 ms  took    1.0 ms  source: freeze
                      took    0.0 ms  no stage, while frozen
vzcluster: move 3: the connection broke
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestVerdict(t *testing.T) {
	for _, tc := range []struct {
		ours, classic time.Duration
		want          string
	}{
		{99 * ms, 300 * ms, ": kept"},
		{100 * ms, 300 * ms, "NOT kept"},
		{0, 300 * ms, "nothing to compare"},
		{100 * ms, 0, "nothing to compare"},
	} {
		got := verdict(Result{Ours: Summary{GapMedian: tc.ours}, Classic: Summary{GapMedian: tc.classic}})
		if !strings.Contains(got, tc.want) {
			t.Errorf("%v to %v: %q, want %q", tc.ours, tc.classic, got, tc.want)
		}
	}
}

func TestParseSizes(t *testing.T) {
	if got, err := parseSizes("0, 64,1024"); err != nil || len(got) != 3 || got[1] != 64 {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "x", "-1", "1,,2", "1e9", "99999999999"} {
		if got, err := parseSizes(bad); err == nil {
			t.Errorf("%q is taken as %v", bad, got)
		}
	}
}
