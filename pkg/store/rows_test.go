package store

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Rows behave as a sorted map, and what was handed out before a change stays as it was.
func TestRowsAreASortedMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := make(map[string]int)
		var sorted []*row[int]
		for i := range rapid.IntRange(0, 3*chunkRows).Draw(t, "at first") {
			id := fmt.Sprintf("%05d", 2*i)
			sorted, want[id] = append(sorted, &row[int]{id, 1, i}), i
		}
		now := newRows(sorted)
		for n := range rapid.IntRange(1, 40).Draw(t, "changes") {
			before, kept := now, slices.Collect(now.all())
			// A row of neighbours at a time: that is what fills and empties chunks.
			from, count := rapid.IntRange(0, 6*chunkRows).Draw(t, "from"), rapid.IntRange(1, chunkRows).Draw(t, "count")
			deletes := rapid.Bool().Draw(t, "delete")
			for i := range count {
				id := fmt.Sprintf("%05d", from+i)
				if deletes {
					now = now.del(id)
					delete(want, id)
				} else {
					now = now.put(&row[int]{id, 1, n})
					want[id] = n
				}
			}
			if !slices.Equal(kept, slices.Collect(before.all())) {
				t.Fatal("a change went through to a snapshot of before")
			}
		}
		checkRows(t, now, want)
	})
}

func checkRows(t *rapid.T, got rows[int], want map[string]int) {
	t.Helper()
	ids := slices.Sorted(maps.Keys(want))
	var have []string
	for r := range got.all() {
		have = append(have, r.id)
		if r.value != want[r.id] {
			t.Fatalf("%s is %d, want %d", r.id, r.value, want[r.id])
		}
		if got.find(r.id) != r {
			t.Fatalf("%s is in the row but not found", r.id)
		}
	}
	if !slices.Equal(have, ids) || got.n != len(ids) {
		t.Fatalf("%d rows (n says %d), want %d in order", len(have), got.n, len(ids))
	}
	for _, chunk := range got.chunks {
		if len(chunk) == 0 || len(chunk) > chunkRows {
			t.Fatalf("a chunk of %d rows", len(chunk))
		}
	}
	for _, id := range []string{"", "00000x", "99999"} {
		if _, ok := want[id]; !ok && got.find(id) != nil {
			t.Fatalf("%q is found", id)
		}
	}
}
