package raftlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// DamagedError says that what a master has on its disk is not what it once wrote there. Starting with it could forget what was
// acknowledged. The way out is to fetch everything from the other masters: [Empty].
type DamagedError struct {
	Path string
	Why  string
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s: %s; this master must not go on with it: have it start afresh from the others with `vzmaster resync`", e.Path, e.Why)
}

// verifyLog reads the whole log in dir and fails with a *DamagedError if any record of it is not as it was written. The end of a write
// that was cut off is no damage. raft-wal trusts the disk; we don't.
func verifyLog(dir string, meta *metadb.BoltMetaDB) error {
	state, err := loadMeta(dir, meta)
	if err != nil {
		return err
	}
	if err := verifyKnown(dir, state); err != nil {
		return err
	}
	for i, info := range state.Segments {
		path := filepath.Join(dir, segment.FileName(info))
		data, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) && i == len(state.Segments)-1 && info.SealTime.IsZero() {
			continue // made, but never written
		}
		if errors.Is(err, os.ErrNotExist) {
			return &DamagedError{path, "the file is missing"}
		}
		if err != nil {
			return err
		}
		entries, sealed, err := checkSegment(data)
		if err != nil {
			return &DamagedError{path, err.Error()}
		}
		if info.SealTime.IsZero() {
			continue
		}
		if want := info.MaxIndex - info.BaseIndex + 1; !sealed || uint64(entries) < want {
			return &DamagedError{path, fmt.Sprintf("it has %d whole records and shall have %d", entries, want)}
		}
	}
	return nil
}

// loadMeta reads what raft-wal knows of its segments. bbolt panics on some damage.
func loadMeta(dir string, meta *metadb.BoltMetaDB) (state types.PersistentState, err error) {
	path := filepath.Join(dir, metadb.FileName)
	defer func() {
		if p := recover(); p != nil {
			err = &DamagedError{path, fmt.Sprint(p)}
		}
	}()
	if state, err = meta.Load(dir); err != nil {
		return state, &DamagedError{path, err.Error()}
	}
	return state, nil
}

// verifyKnown refuses a log without its index: raft-wal would delete every segment that the index does not know.
func verifyKnown(dir string, state types.PersistentState) error {
	if state.NextSegmentID > 0 {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil || len(files) == 0 {
		return err
	}
	return &DamagedError{filepath.Join(dir, metadb.FileName), "it knows of no records, but there are some"}
}

// verifySnapshots fails with a *DamagedError when the log begins behind the newest snapshot that can be read: raft falls back to an
// older one, and would panic at the gap.
func verifySnapshots(dir string, snapshots raft.SnapshotStore, log raft.LogStore) error {
	first, err := log.FirstIndex()
	if err != nil {
		return err
	}
	have, err := snapshots.List()
	if err != nil {
		return err
	}
	var damage error
	for _, meta := range have {
		if damage = readSnapshot(snapshots, meta.ID); damage == nil {
			if first > meta.Index+1 {
				return &DamagedError{dir, fmt.Sprintf("the newest whole snapshot ends at %d, the log begins at %d", meta.Index, first)}
			}
			return nil
		}
	}
	switch {
	case damage != nil:
		return &DamagedError{dir, fmt.Sprintf("no snapshot can be read: %v", damage)}
	case first > 1:
		return &DamagedError{dir, fmt.Sprintf("the log begins at %d and there is no snapshot of what was before", first)}
	}
	return nil
}

// readSnapshot reads one snapshot to its end; opening it compares the checksum.
func readSnapshot(snapshots raft.SnapshotStore, id string) error {
	_, r, err := snapshots.Open(id)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}
