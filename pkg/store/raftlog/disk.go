package raftlog

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
)

const (
	keptSnapshots = 2
	// segmentBytes is what the write-ahead log allocates at a time; an entry has at most some 2 MiB.
	segmentBytes = 16 << 20
	lockFile     = "lock"
)

// disk is the data directory, opened and locked.
type disk struct {
	lock      *os.File
	meta      *metadb.BoltMetaDB
	log       *wal.WAL
	snapshots *raft.FileSnapshotStore
}

// openDisk makes the directory if need be and opens what is in it. It refuses a directory that another process has open or that
// belongs to another id: two members with one identity would vote twice.
func openDisk(dir, id string, logger *slog.Logger) (_ *disk, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	d := &disk{meta: &metadb.BoltMetaDB{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if d.lock, err = lockDir(dir); err != nil {
		return nil, err
	}
	if err := checkRetired(dir); err != nil {
		return nil, err
	}
	if err := checkQuarantine(dir); err != nil {
		return nil, err
	}
	if err := bindID(filepath.Join(dir, "id"), id); err != nil {
		return nil, err
	}
	walDir := filepath.Join(dir, "wal")
	if err := os.MkdirAll(walDir, 0o700); err != nil {
		return nil, err
	}
	if err := verifyLog(walDir, d.meta); err != nil {
		return nil, err
	}
	if d.log, err = wal.Open(walDir, wal.WithMetaStore(d.meta), wal.WithSegmentSize(segmentBytes), wal.WithLogger(newHclog(logger))); err != nil {
		return nil, fmt.Errorf("open the log in %s: %w", walDir, err)
	}
	if d.snapshots, err = raft.NewFileSnapshotStoreWithLogger(dir, keptSnapshots, newHclog(logger)); err != nil {
		return nil, fmt.Errorf("open the snapshots in %s: %w", dir, err)
	}
	if err := verifySnapshots(filepath.Join(dir, "snapshots"), d.snapshots, d.log); err != nil {
		return nil, err
	}
	return d, nil
}

// bindID ties the directory to id.
func bindID(path, id string) error {
	have, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return writeID(path, id)
	}
	if err != nil {
		return err
	}
	if got := strings.TrimSpace(string(have)); got != id {
		return fmt.Errorf("%s: the directory belongs to the master %q, not to %q", path, got, id)
	}
	return nil
}

// writeID leaves the whole id or nothing, whenever the power goes.
func writeID(path, id string) error {
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(id + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func (d *disk) close() error {
	var errs []error
	if d.log != nil {
		errs = append(errs, d.log.Close())
	}
	// The log does not close it, and it holds a lock of its own.
	errs = append(errs, d.meta.Close())
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
	}
	return errors.Join(errs...)
}

// strict makes every failed write fatal. raft itself would try again, on pages that the kernel has already dropped. It is the
// embedded log for everything else, its promise of consecutive indexes (IsMonotonic) included.
type strict struct {
	*wal.WAL
	fatal func(error)
	dog   *watchdog
}

func (s strict) checked(what string, write func() error) error {
	err := s.dog.do("writing the log ("+what+")", write)
	if err != nil {
		err = fmt.Errorf("raft log: %s: %w", what, err)
		s.fatal(err)
	}
	return err
}

// StoreLog implements [raft.LogStore].
func (s strict) StoreLog(l *raft.Log) error {
	return s.checked("append", func() error { return s.WAL.StoreLog(l) })
}

// StoreLogs implements [raft.LogStore].
func (s strict) StoreLogs(l []*raft.Log) error {
	return s.checked("append", func() error { return s.WAL.StoreLogs(l) })
}

// DeleteRange implements [raft.LogStore].
func (s strict) DeleteRange(a, b uint64) error {
	return s.checked("truncate", func() error { return s.WAL.DeleteRange(a, b) })
}

// Set implements [raft.StableStore].
func (s strict) Set(k, v []byte) error {
	return s.checked("vote", func() error { return s.WAL.Set(k, v) })
}

// SetUint64 implements [raft.StableStore].
func (s strict) SetUint64(k []byte, v uint64) error {
	return s.checked("term", func() error { return s.WAL.SetUint64(k, v) })
}
