package raftlog

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

func TestEmpty(t *testing.T) {
	dir := t.TempDir()
	path := written(t, dir, 10, 10, 10)
	rewrite(t, path, func(data []byte) { data[60] ^= 1 })
	if _, err := Empty(dir, "b", 7); err == nil || !strings.Contains(err.Error(), `belongs to the master "a"`) {
		t.Errorf("emptied by another: %v", err)
	}
	aside, err := Empty(dir, "a", 7)
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Dir(aside) != dir {
		t.Errorf("the old data is at %s", aside)
	}
	if _, err := os.Stat(filepath.Join(aside, "wal", filepath.Base(path))); err != nil {
		t.Errorf("the old log is lost: %v", err)
	}
	d, err := openDisk(dir, "a", quiet)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Empty(dir, "a", 7); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("emptied while it is in use: %v", err)
	}
	if n, err := d.log.LastIndex(); n != 0 || err != nil {
		t.Errorf("the new log ends at %d, %v", n, err)
	}
	// Without this it would found a cluster if it was started to do so, and could vote twice in one term.
	if has, err := raft.HasExistingState(d.log, d.log, d.snapshots); !has || err != nil {
		t.Errorf("it looks like a directory that never was one: %v, %v", has, err)
	}
	for key, want := range map[string]uint64{"CurrentTerm": 7, "LastVoteTerm": 7} {
		if got, err := d.log.GetUint64([]byte(key)); got != want || err != nil {
			t.Errorf("%s is %d, %v; want %d", key, got, err, want)
		}
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	if again, err := Empty(dir, "a", 8); err != nil || again == aside {
		t.Errorf("a second time: %s, %v", again, err)
	}
	if _, err := os.Stat(aside); err != nil {
		t.Errorf("what was moved aside first is gone: %v", err)
	}
}

func TestQuarantineLasts(t *testing.T) {
	dir := t.TempDir()
	l, err := New(Config{ID: "a", DataDir: dir, RaftAddr: "127.0.0.1:1", Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	l.Quarantine("after entry 7 it differs")
	var in *QuarantinedError
	if err := <-l.fatal; !errors.As(err, &in) || in.Why != "after entry 7 it differs" {
		t.Errorf("run ends with %v", err)
	}
	in = nil
	if _, err := openDisk(dir, "a", quiet); !errors.As(err, &in) || in.Why != "after entry 7 it differs" || !strings.Contains(err.Error(), "vzmaster resync") {
		t.Errorf("start: %v", err)
	}
	if _, err := Empty(dir, "a", 1); err != nil {
		t.Fatal(err)
	}
	d, err := openDisk(dir, "a", quiet)
	if err != nil {
		t.Fatalf("after it was emptied: %v", err)
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
}
