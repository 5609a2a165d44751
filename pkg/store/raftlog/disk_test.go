package raftlog

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

func open(t *testing.T, dir, id string) (*disk, error) {
	t.Helper()
	return openDisk(dir, id, quiet)
}

var quiet = slog.New(slog.DiscardHandler)

func mustOpen(t *testing.T, dir string) *disk {
	t.Helper()
	d, err := open(t, dir, "a")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDiskBelongsToOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	d := mustOpen(t, dir)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v (%v), want 0700", info.Mode(), err)
	}
	if _, err := open(t, dir, "a"); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("opened twice: got %v", err)
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, dir, "b"); err == nil || !strings.Contains(err.Error(), `belongs to the master "a"`) {
		t.Errorf("opened by another id: got %v", err)
	}
	if err := mustOpen(t, dir).close(); err != nil {
		t.Errorf("opened again by its owner: %v", err)
	}
}

// raft-wal 0.4.0 could not be read any more after this, which is what a deposed leader goes through when it comes back.
func TestLogSurvivesLosingItsEnd(t *testing.T) {
	dir := t.TempDir()
	d := mustOpen(t, dir)
	entries := func(from, to uint64, data string) (logs []*raft.Log) {
		for i := from; i <= to; i++ {
			logs = append(logs, &raft.Log{Index: i, Term: 1, Data: fmt.Appendf(nil, "%s%d", data, i)})
		}
		return logs
	}
	reopen := func() {
		t.Helper()
		if err := d.close(); err != nil {
			t.Fatal(err)
		}
		d = mustOpen(t, dir)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(d.log.StoreLogs(entries(1, 10, "old")))
	check(d.log.DeleteRange(8, 10))
	reopen()
	check(d.log.StoreLogs(entries(8, 9, "new")))
	shot, err := d.snapshots.Create(1, 2, 1, raft.Configuration{}, 1, nil)
	check(err)
	check(shot.Close())
	check(d.log.DeleteRange(1, 2))
	reopen()
	defer d.close()
	for i := uint64(3); i <= 9; i++ {
		want := fmt.Sprint("old", i)
		if i >= 8 {
			want = fmt.Sprint("new", i)
		}
		var l raft.Log
		if err := d.log.GetLog(i, &l); err != nil || string(l.Data) != want {
			t.Errorf("entry %d: got %q and %v, want %q", i, l.Data, err, want)
		}
	}
}

func TestEveryFailedWriteIsFatal(t *testing.T) {
	d := mustOpen(t, t.TempDir())
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	entry := &raft.Log{Index: 1, Term: 1}
	for name, write := range map[string]func(s strict) error{
		"StoreLog":    func(s strict) error { return s.StoreLog(entry) },
		"StoreLogs":   func(s strict) error { return s.StoreLogs([]*raft.Log{entry}) },
		"DeleteRange": func(s strict) error { return s.DeleteRange(1, 1) },
		"Set":         func(s strict) error { return s.Set([]byte("k"), []byte("v")) },
		"SetUint64":   func(s strict) error { return s.SetUint64([]byte("k"), 1) },
	} {
		var fatal error
		err := write(strict{d.log, func(err error) { fatal = err }, new(watchdog)})
		if err == nil || fatal == nil {
			t.Errorf("%s on a closed log: returned %v, fatal %v", name, err, fatal)
		}
	}
	// raft must learn through the wrapper that the log has no gaps, or it would not clear it before a snapshot from afar.
	if m, ok := raft.LogStore(strict{}).(raft.MonotonicLogStore); !ok || !m.IsMonotonic() {
		t.Error("the wrapper hides that the log is monotonic")
	}
}
