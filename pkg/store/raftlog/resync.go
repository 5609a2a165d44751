package raftlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
	"golang.org/x/sys/unix"
)

// Keys of raft's stable store.
var (
	keyCurrentTerm  = []byte("CurrentTerm")
	keyLastVoteTerm = []byte("LastVoteTerm")
	keyLastVoteCand = []byte("LastVoteCand")
)

// damagedPrefix begins the name of the directory that [Empty] moves things to.
const damagedPrefix = "damaged-"

// Empty has the member id begin afresh in dir: everything there is moved to a directory beside it, whose path is returned, and only
// the term is kept, which must be one that the cluster has reached. So this member neither votes again in a term in which it may have
// voted before, nor makes a new cluster, whatever its command line says. It fails when the directory is in use or another member's.
//
// It is only safe for a member that the others have removed: what it has acknowledged is forgotten here.
func Empty(dir, id string, term uint64) (aside string, err error) {
	lock, err := lockDir(dir)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	have, err := os.ReadFile(filepath.Join(dir, "id"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if got := strings.TrimSpace(string(have)); got != "" && got != id {
		return "", fmt.Errorf("%s: the directory belongs to the master %q, not to %q", dir, got, id)
	}
	if aside, err = moveAside(dir); err != nil {
		return "", fmt.Errorf("move the damaged data aside: %w", err)
	}
	walDir := filepath.Join(dir, "wal")
	if err := os.Mkdir(walDir, 0o700); err != nil {
		return aside, err
	}
	meta := &metadb.BoltMetaDB{}
	log, err := wal.Open(walDir, wal.WithMetaStore(meta), wal.WithSegmentSize(segmentBytes))
	if err != nil {
		return aside, errors.Join(fmt.Errorf("begin a new log: %w", err), meta.Close())
	}
	err = errors.Join(log.SetUint64(keyLastVoteTerm, term), log.Set(keyLastVoteCand, []byte("resync")), log.SetUint64(keyCurrentTerm, term))
	if err := errors.Join(err, log.Close(), meta.Close()); err != nil {
		return aside, fmt.Errorf("begin a new log: %w", err)
	}
	return aside, writeID(filepath.Join(dir, "id"), id)
}

// moveAside moves all of dir but the lock, and what was moved before, into a new directory in it.
func moveAside(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	aside := filepath.Join(dir, damagedPrefix+time.Now().UTC().Format("20060102T150405.000000000"))
	if err := os.Mkdir(aside, 0o700); err != nil {
		return "", err
	}
	for _, e := range entries {
		if e.Name() == lockFile || e.Name() == ownerFile || strings.HasPrefix(e.Name(), damagedPrefix) {
			continue
		}
		if err := os.Rename(filepath.Join(dir, e.Name()), filepath.Join(aside, e.Name())); err != nil {
			return "", err
		}
	}
	return aside, nil
}

// lockDir makes dir the caller's until the file is closed. It fails when another process has it.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: another process uses it: %w", dir, err), f.Close())
	}
	return f, nil
}
