package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// written makes a log of single appends with the given sizes and returns the path of its one segment.
func written(t testing.TB, dir string, sizes ...int) string {
	t.Helper()
	d, err := openDisk(dir, "a", quiet)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range sizes {
		if err := d.log.StoreLog(&raft.Log{Index: uint64(i + 1), Term: 1, Data: bytes.Repeat([]byte{'a' + byte(i)}, n)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "wal", "*.wal"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v %v: want one segment", files, err)
	}
	return files[0]
}

// records returns where each append of a segment begins and ends.
func records(t testing.TB, path string) (bounds [][2]int) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	from, first := 0, segmentHeader
	for {
		b, _, whole := batchAt(data, from, first)
		if !whole {
			return bounds
		}
		bounds = append(bounds, [2]int{first, b.end})
		from, first = b.end, b.end
	}
}

func rewrite(t testing.TB, path string, change func(data []byte)) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	change(data)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// entriesAfter opens the directory and returns how many entries its log has.
func entriesAfter(t testing.TB, dir string) (uint64, error) {
	t.Helper()
	d, err := openDisk(dir, "a", quiet)
	if err != nil {
		return 0, err
	}
	defer d.close()
	n, err := d.log.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	return n, nil
}

// Wherever one bit flips in what was acknowledged, the master refuses to start; never does it start with less.
func TestAnyFlippedBitIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := written(t, dir, 100, 1500, 10, 3000, 200)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := records(t, path)
	if len(all) != 5 {
		t.Fatalf("%d records, want 5", len(all))
	}
	rapid.Check(t, func(rt *rapid.T) {
		at := rapid.IntRange(0, all[4][1]-1).Draw(rt, "byte")
		bit := rapid.IntRange(0, 7).Draw(rt, "bit")
		data := bytes.Clone(whole)
		data[at] ^= 1 << bit
		entries, _, err := checkSegment(data)
		// In the last record the flip may hit its length, which looks like a write that was cut off: nobody can tell.
		if err == nil && at < all[4][0] {
			rt.Errorf("accepted with %d entries", entries)
		}
	})
	for _, at := range []int{all[2][0], all[2][0] + 5, all[2][1] - 1, all[4][0] + 20} {
		rewrite(t, path, func(data []byte) { data[at] ^= 1 })
		var damaged *DamagedError
		if _, err := entriesAfter(t, dir); !errors.As(err, &damaged) || damaged.Path != path {
			t.Errorf("byte %d: got %v, want a damaged %s", at, err, path)
		}
		rewrite(t, path, func(data []byte) { data[at] ^= 1 })
	}
	if n, err := entriesAfter(t, dir); n != 5 || err != nil {
		t.Errorf("mended: %d entries, %v", n, err)
	}
}

// A power cut leaves the last append in any state: sectors of it are there or not. The master starts with what was before.
func TestTornEndStarts(t *testing.T) {
	for cut := range 7 {
		dir := t.TempDir()
		path := written(t, dir, 100, 1500, 10, 3000)
		all := records(t, path)
		last := all[3]
		rewrite(t, path, func(data []byte) {
			// One sector of the record is missing, or everything from one on.
			from := last[0] - last[0]%sector + cut*sector
			to := min(from+sector, last[1])
			if cut%2 == 0 {
				to = last[1]
			}
			clear(data[max(from, last[0]):to])
		})
		if n, err := entriesAfter(t, dir); n != 3 || err != nil {
			t.Errorf("cut at sector %d: %d entries, %v; want the 3 before", cut, n, err)
		}
	}
}

func TestMissingPiecesAreRefused(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, dir string){
		"no index": func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "wal", "wal-meta.db")); err != nil {
				t.Fatal(err)
			}
		},
		"a broken index": func(t *testing.T, dir string) {
			rewrite(t, filepath.Join(dir, "wal", "wal-meta.db"), func(data []byte) {
				for i := range data {
					data[i] ^= 0x55
				}
			})
		},
		"a sealed segment cut": func(t *testing.T, dir string) {
			if err := os.Truncate(segments(t, dir)[0], 1<<20); err != nil {
				t.Fatal(err)
			}
		},
		"a sealed segment missing": func(t *testing.T, dir string) {
			if err := os.Remove(segments(t, dir)[0]); err != nil {
				t.Fatal(err)
			}
		},
		"a sealed segment flipped": func(t *testing.T, dir string) {
			rewrite(t, segments(t, dir)[0], func(data []byte) { data[5<<20] ^= 4 })
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d, err := openDisk(dir, "a", quiet)
			if err != nil {
				t.Fatal(err)
			}
			data := bytes.Repeat([]byte("x"), 1<<20)
			for i := range uint64(20) {
				if err := d.log.StoreLog(&raft.Log{Index: i + 1, Term: 1, Data: data}); err != nil {
					t.Fatal(err)
				}
			}
			if err := d.close(); err != nil {
				t.Fatal(err)
			}
			if n, err := entriesAfter(t, dir); n != 20 || err != nil {
				t.Fatalf("whole: %d entries, %v", n, err)
			}
			if got := segments(t, dir); len(got) != 2 {
				t.Fatalf("segments %v: want two", got)
			}
			damage(t, dir)
			var damaged *DamagedError
			if _, err := entriesAfter(t, dir); !errors.As(err, &damaged) {
				t.Errorf("got %v, want a damaged file", err)
			}
		})
	}
}

func segments(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "wal", "*.wal"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestSnapshotsAndLogMustMeet(t *testing.T) {
	for _, test := range []struct {
		name      string
		snapshots []uint64 // by index, oldest first
		broken    int      // how many of the newest are damaged
		first     uint64   // of the log; 0: it is empty
		ok        bool
	}{
		{"a new member", nil, 0, 0, true},
		{"no snapshot yet", nil, 0, 1, true},
		{"log overlaps", []uint64{10, 20}, 0, 5, true},
		{"log begins right behind", []uint64{10, 20}, 0, 21, true},
		{"nothing but a snapshot", []uint64{10}, 0, 0, true},
		{"the older one still meets the log", []uint64{10, 20}, 1, 11, true},
		{"the older one does not", []uint64{10, 20}, 1, 12, false},
		{"all broken", []uint64{10, 20}, 2, 5, false},
		{"none where one must be", nil, 0, 5, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			d, err := openDisk(dir, "a", quiet)
			if err != nil {
				t.Fatal(err)
			}
			for i, index := range test.snapshots {
				sink, err := d.snapshots.Create(1, index, 1, raft.Configuration{}, 1, nil)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := fmt.Fprint(sink, "state"); err != nil {
					t.Fatal(err)
				}
				if err := sink.Close(); err != nil {
					t.Fatal(err)
				}
				if i >= len(test.snapshots)-test.broken {
					rewrite(t, filepath.Join(dir, "snapshots", sink.ID(), "state.bin"), func(data []byte) { data[0] ^= 1 })
				}
			}
			if test.first > 0 {
				if err := d.log.StoreLog(&raft.Log{Index: test.first, Term: 1}); err != nil {
					t.Fatal(err)
				}
			}
			if err := d.close(); err != nil {
				t.Fatal(err)
			}
			_, err = entriesAfter(t, dir)
			var damaged *DamagedError
			if (err == nil) != test.ok || err != nil && !errors.As(err, &damaged) {
				t.Errorf("got %v, want ok: %v", err, test.ok)
			}
		})
	}
}
