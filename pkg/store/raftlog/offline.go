package raftlog

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/pkg/store/internal/kv"
)

// retiredFile says, if it exists, why no master may start on a directory any more.
const retiredFile = "retired"

// Offline is the data directory of a master that is stopped. While it is open no master can start on it.
type Offline struct {
	Dir  string
	ID   string // of the master
	Term uint64 // the highest that it has taken part in

	// LastTerm and LastIndex are those of the end of its log: of two members the one with the higher pair, in this order, knows more.
	LastTerm, LastIndex uint64
	// Voters are the ids of those who decide, as this member knows them.
	Voters []string

	Rev  store.Rev
	Data map[string]store.KV

	disk *disk
}

// OpenOffline reads the data directory dir. Everything in its log counts, also what no quorum may have confirmed: who was told
// "unknown" may find that it happened. It must be closed.
func OpenOffline(dir string, logger *slog.Logger) (*Offline, error) {
	o, err := openOffline(dir, logger)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", dir, err)
	}
	return o, nil
}

func openOffline(dir string, logger *slog.Logger) (_ *Offline, err error) {
	id, err := os.ReadFile(filepath.Join(dir, "id"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("not one of a master: it has no file \"id\"")
	}
	if err != nil {
		return nil, err
	}
	o := &Offline{Dir: dir, ID: strings.TrimSpace(string(id))}
	if o.disk, err = openDisk(dir, o.ID, logger); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.Close())
		}
	}()
	if o.Term, err = o.disk.log.GetUint64([]byte("CurrentTerm")); err != nil && err.Error() != "not found" {
		return nil, err
	}
	return o, o.read()
}

// read restores the newest snapshot and applies the log behind it.
func (o *Offline) read() error {
	f := &fsm{machine: kv.New(), fatal: func(error) {}}
	list, err := o.disk.snapshots.List()
	if err != nil {
		return err
	}
	if len(list) > 0 {
		meta, state, err := o.disk.snapshots.Open(list[0].ID)
		if err != nil {
			return err
		}
		if err := f.Restore(state); err != nil {
			return err
		}
		o.LastIndex, o.LastTerm = meta.Index, meta.Term
		o.setVoters(meta.Configuration)
	}
	first, err := o.disk.log.FirstIndex()
	if err != nil {
		return err
	}
	last, err := o.disk.log.LastIndex()
	if err != nil {
		return err
	}
	if last > o.LastIndex && first > o.LastIndex+1 {
		return fmt.Errorf("the log begins at %d, the snapshot ends at %d: something between is missing", first, o.LastIndex)
	}
	for i := o.LastIndex + 1; i <= last; i++ {
		if err := o.replay(f, i); err != nil {
			return err
		}
	}
	o.Rev, o.Data = f.machine.Image()
	o.Rev = max(o.Rev, store.Rev(o.LastIndex))
	return nil
}

func (o *Offline) replay(f *fsm, index uint64) error {
	var entry raft.Log
	if err := o.disk.log.GetLog(index, &entry); err != nil {
		return fmt.Errorf("log entry %d: %w", index, err)
	}
	switch entry.Type {
	case raft.LogCommand:
		f.Apply(&entry)
	case raft.LogConfiguration:
		o.setVoters(raft.DecodeConfiguration(entry.Data))
	}
	o.LastIndex, o.LastTerm = entry.Index, entry.Term
	return f.failure()
}

func (o *Offline) setVoters(c raft.Configuration) {
	o.Voters = nil
	for _, s := range c.Servers {
		if s.Suffrage == raft.Voter {
			o.Voters = append(o.Voters, string(s.ID))
		}
	}
}

// Retire keeps any master from starting on the directory again; why is what it then says.
func (o *Offline) Retire(why string) error {
	return writeID(filepath.Join(o.Dir, retiredFile), why)
}

// Close lets go of the directory.
func (o *Offline) Close() error { return o.disk.close() }

// checkRetired fails if the directory was retired.
func checkRetired(dir string) error {
	path := filepath.Join(dir, retiredFile)
	why, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("%s (remove %s only if you are sure that this is not so)", strings.TrimSpace(string(why)), path)
}

// Seed makes the data directory of a new cluster of one voter that begins with data at revision rev. The others join it. dir must be
// missing or empty.
func Seed(dir, id, raftAddr string, rev store.Rev, data map[string]store.KV, logger *slog.Logger) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("data directory %s: %w", dir, err)
		}
	}()
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return errors.New("it is not empty")
	}
	d, err := openDisk(dir, id, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	// The term first: a snapshot alone makes the directory one that has state.
	if err := d.log.SetUint64([]byte("CurrentTerm"), 1); err != nil {
		return err
	}
	one := raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(id), Address: raft.ServerAddress(raftAddr)}}}
	_, nobody := raft.NewInmemTransport(raft.ServerAddress(raftAddr)) // only its way to write addresses is used
	index := max(uint64(rev), 1)
	sink, err := d.snapshots.Create(raft.SnapshotVersionMax, index, 1, one, index, nobody)
	if err != nil {
		return err
	}
	return (&image{rev, data}).Persist(sink)
}
