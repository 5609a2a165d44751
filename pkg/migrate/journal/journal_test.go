package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

func sample(t testing.TB, n int) (path string, ends []int64) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "7.source")
	j, recs, err := Open(path)
	if err != nil || len(recs) != 0 {
		t.Fatalf("fresh journal: %v, %v", recs, err)
	}
	for i := range n {
		if err := j.Append(fmt.Sprintf("step%d", i), map[string]int{"i": i}); err != nil {
			t.Fatal(err)
		}
		st, _ := os.Stat(path)
		ends = append(ends, st.Size())
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return path, ends
}

// A journal that is cut at any byte keeps exactly the records that were whole, and takes new ones.
func TestTornTailAtEveryByte(t *testing.T) {
	path, ends := sample(t, 3)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := 0; cut <= len(whole); cut++ {
		for _, fill := range []int{0, 40} { // blocks that were allocated and never written read as zeros
			p := filepath.Join(t.TempDir(), "cut")
			if err := os.WriteFile(p, append(whole[:cut:cut], make([]byte, fill)...), 0o600); err != nil {
				t.Fatal(err)
			}
			want := 0
			for _, e := range ends {
				if int64(cut) >= e {
					want++
				}
			}
			j, recs, err := Open(p)
			if err != nil {
				// Zeros behind a half-written header cannot be told from damage: refusing is the safe answer.
				if fill > 0 && errors.As(err, new(*CorruptError)) {
					continue
				}
				t.Fatalf("cut at %d: %v", cut, err)
			}
			if len(recs) != want {
				t.Fatalf("cut at %d: %d records, want %d", cut, len(recs), want)
			}
			if err := j.Append("more", nil); err != nil {
				t.Fatal(err)
			}
			j.Close()
			j, recs, err = Open(p)
			if err != nil || len(recs) != want+1 || recs[want].Step != "more" {
				t.Fatalf("cut at %d: after append: %v, %v", cut, recs, err)
			}
			j.Close()
		}
	}
}

// One changed byte anywhere is never read as a different history: it is refused, and the file is left as it was.
func TestDamageIsRefused(t *testing.T) {
	path, _ := sample(t, 3)
	whole, _ := os.ReadFile(path)
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.IntRange(0, len(whole)-1).Draw(t, "at")
		bad := append([]byte(nil), whole...)
		bad[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "xor"))
		recs, _, err := Decode(bad)
		var c *CorruptError
		if errors.As(err, &c) {
			return
		}
		// The one exception: the very last byte became zero, which is what a torn write leaves.
		if err == nil && at == len(whole)-1 && bad[at] == 0 && len(recs) == 2 {
			return
		}
		t.Fatalf("byte %d changed: %d records, %v", at, len(recs), err)
	})
}

func TestRemove(t *testing.T) {
	path, _ := sample(t, 1)
	j, _, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("still there: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	rec, _ := encode(Record{Step: "begin", Data: []byte(`{"a":1}`)})
	one := append([]byte(magic), rec...)
	f.Add([]byte(nil))
	f.Add([]byte(magic))
	f.Add(one)
	f.Add(append(one[:len(one):len(one)], rec...))
	f.Add(append(one[:len(one):len(one)], rec[:7]...))
	f.Add(append(one[:len(one):len(one)], make([]byte, 20)...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		recs, good, err := Decode(raw)
		if err != nil {
			return
		}
		if good > int64(len(raw)) {
			t.Fatalf("%d good bytes of %d", good, len(raw))
		}
		again, g2, err := Decode(raw[:good])
		if err != nil || g2 != good || len(again) != len(recs) {
			t.Fatalf("the sound part reads differently: %d/%d records, %v", len(again), len(recs), err)
		}
	})
}
