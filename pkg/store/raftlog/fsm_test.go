package raftlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/pkg/store/internal/kv"
)

func entry(t *testing.T, index, term uint64, p proposal) *raft.Log {
	t.Helper()
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return &raft.Log{Index: index, Term: term, Data: data}
}

func put(key, value string) store.Txn {
	return store.Txn{Put: map[string][]byte{key: []byte(value)}}
}

func TestApply(t *testing.T) {
	f := &fsm{machine: kv.New(), fatal: func(err error) { t.Errorf("fatal: %v", err) }}
	conditional := put("a", "2")
	conditional.If = map[string]store.Rev{"a": 4}
	for _, step := range []struct {
		name  string
		entry *raft.Log
		want  outcome
	}{
		{"first", entry(t, 4, 2, proposal{1, 2, put("a", "1")}), outcome{4, nil}},
		{"of an older leadership", entry(t, 5, 4, proposal{1, 2, put("a", "x")}), outcome{0, store.ErrNotLeader}},
		{"of a later leadership", entry(t, 6, 4, proposal{1, 5, put("a", "x")}), outcome{0, store.ErrNotLeader}},
		{"with a precondition", entry(t, 7, 4, proposal{1, 4, conditional}), outcome{7, nil}},
		{"that holds no more", entry(t, 8, 4, proposal{1, 4, conditional}), outcome{7, store.ErrConflict}},
	} {
		if got := f.Apply(step.entry).(outcome); got != step.want {
			t.Errorf("%s: got %v, want %v", step.name, got, step.want)
		}
	}
}

// An entry that this binary does not understand must stop it for good: nothing after it is applied, and no snapshot is written that
// would make it look as if it had been.
func TestUnknownEntryIsFatal(t *testing.T) {
	for name, bad := range map[string][]byte{
		"garbage":         []byte("{"),
		"a newer version": []byte(`{"v":2,"term":1}`),
	} {
		var fatal error
		f := &fsm{machine: kv.New(), fatal: func(err error) { fatal = err }}
		got := f.Apply(&raft.Log{Index: 2, Term: 1, Data: bad}).(outcome)
		if fatal == nil || !errors.Is(got.err, store.ErrUnknown) {
			t.Errorf("%s: fatal %v, answer %v", name, fatal, got.err)
		}
		if got := f.Apply(entry(t, 3, 1, proposal{1, 1, put("a", "1")})).(outcome); got.err == nil || f.machine.Rev() != 0 {
			t.Errorf("%s: the next entry was applied: %v", name, got)
		}
		if _, err := f.Snapshot(); err == nil {
			t.Errorf("%s: a snapshot was made", name)
		}
	}
}

type sink struct {
	bytes.Buffer
	cancelled, closed bool
	fail              bool
}

func (s *sink) Write(p []byte) (int, error) {
	if s.fail {
		return 0, errors.New("disk full")
	}
	return s.Buffer.Write(p)
}
func (s *sink) ID() string    { return "" }
func (s *sink) Cancel() error { s.cancelled = true; return nil }
func (s *sink) Close() error  { s.closed = true; return nil }

func TestSnapshotRoundTrip(t *testing.T) {
	f := &fsm{machine: kv.New()}
	f.Apply(entry(t, 2, 1, proposal{1, 1, put("a", "\x00\xff")}))
	f.Apply(entry(t, 3, 1, proposal{1, 1, put("b", "")}))
	shot, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	// What comes after Snapshot must not get into it.
	f.Apply(entry(t, 4, 1, proposal{1, 1, put("c", "late")}))
	var out sink
	if err := shot.Persist(&out); err != nil || !out.closed || out.cancelled {
		t.Fatalf("persist: %v, %+v", err, out)
	}
	whole := out.String()
	g := &fsm{machine: kv.New()}
	if err := g.Restore(io.NopCloser(strings.NewReader(whole))); err != nil {
		t.Fatal(err)
	}
	rev, data := g.machine.Image()
	if rev != 3 || len(data) != 2 || string(data["a"].Value) != "\x00\xff" || data["a"].Rev != 2 || data["b"].Rev != 3 {
		t.Errorf("restored %v at %d", data, rev)
	}
	lines := strings.SplitAfter(whole, "\n")
	for name, broken := range map[string]string{
		"empty":           "",
		"cut":             whole[:len(whole)-10],
		"a line missing":  lines[0] + lines[1],
		"a line twice":    lines[0] + lines[1] + lines[1],
		"a newer version": strings.Replace(whole, `"version":1`, `"version":2`, 1),
	} {
		if err := g.Restore(io.NopCloser(strings.NewReader(broken))); err == nil {
			t.Errorf("%s: restored", name)
		}
		if now, _ := g.machine.Image(); now != 3 {
			t.Errorf("%s: the state was touched", name)
		}
	}
	full := sink{fail: true}
	if err := shot.Persist(&full); err == nil || !full.cancelled || full.closed {
		t.Errorf("persist on a full disk: %v, %+v", err, full)
	}
}
