package load

import (
	"strings"
	"testing"
	"time"
)

// The checker must be able to fail: these are the histories that a broken cluster would leave.
func TestCheck(t *testing.T) {
	at := time.Unix(0, 0)
	tests := []struct {
		name string
		make func(h *History)
		want string // part of the error; empty: linearizable
	}{
		{"nothing", func(*History) {}, "empty"},
		{"write and read", func(h *History) {
			h.wrote(1, Write{"k1", "r", "a", at}, 1, 2)
			h.read(2, "r", "a", 3, 4)
		}, ""},
		{"a read beside a write sees either", func(h *History) {
			h.wrote(1, Write{"k1", "r", "a", at}, 1, 10)
			h.read(2, "r", "", 2, 3)
			h.read(2, "r", "a", 4, 5)
		}, ""},
		{"stale read", func(h *History) {
			h.wrote(1, Write{"k1", "r", "a", at}, 1, 2)
			h.wrote(1, Write{"k2", "r", "b", at}, 3, 4)
			h.read(2, "r", "a", 5, 6)
		}, `"a" was read`},
		{"lost write", func(h *History) {
			h.wrote(1, Write{"k1", "r", "a", at}, 1, 2)
			h.read(2, "r", "", 3, 4)
		}, "not linearizable"},
		{"done twice", func(h *History) {
			h.wrote(1, Write{"k1", "r", "a", at}, 1, 2)
			h.wrote(2, Write{"k2", "r", "b", at}, 3, 4)
			h.read(3, "r", "b", 5, 6)
			h.read(3, "r", "a", 7, 8)
		}, "not linearizable"},
		{"back again", func(h *History) {
			h.wrote(1, Write{"k1", "r", "a", at}, 1, 20)
			h.read(3, "r", "a", 5, 6)
			h.read(3, "r", "", 7, 8)
		}, "not linearizable"},
		{"never written", func(h *History) { h.read(1, "r", "x", 1, 2) }, "never written"},
		{"unknown outcome, late effect", func(h *History) {
			h.pending(1, "r", "a", 1)
			h.read(2, "r", "", 2, 3)
			h.read(2, "r", "a", 4, 5)
		}, ""},
		{"registers are apart", func(h *History) {
			h.wrote(1, Write{"k1", "r", "a", at}, 1, 2)
			h.read(2, "s", "", 3, 4)
		}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := NewHistory()
			test.make(h)
			err := h.Check(10 * time.Second)
			if test.want == "" && err != nil {
				t.Errorf("got %v, want it to be linearizable", err)
			}
			if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestFirstAfter(t *testing.T) {
	h := NewHistory()
	t0 := time.Unix(1000, 0)
	for _, s := range []int{5, 1, 3} {
		h.wrote(1, Write{At: t0.Add(time.Duration(s) * time.Second)}, 0, 1)
	}
	if got, ok := h.FirstAfter(t0.Add(time.Second)); !ok || !got.Equal(t0.Add(3*time.Second)) {
		t.Errorf("got %v, %v", got, ok)
	}
	if _, ok := h.FirstAfter(t0.Add(5 * time.Second)); ok {
		t.Error("nothing comes after the last one")
	}
}
