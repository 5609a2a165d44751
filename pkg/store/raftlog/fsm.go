package raftlog

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/pkg/store/internal/kv"
)

// proposalVersion is the version of the log entries that this binary writes, and the only one that it reads.
const proposalVersion = 1

// proposal is one entry of the raft log.
type proposal struct {
	Version int       `json:"v"`
	Term    uint64    `json:"term"` // the entry counts only if it was appended in this term
	Txn     store.Txn `json:"txn"`
}

// outcome is what Apply answers.
type outcome struct {
	rev store.Rev
	err error
}

// fsm applies the entries to the mirror. It is deterministic: no clock, no chance, no map order in what it writes.
type fsm struct {
	machine *kv.Machine
	fatal   func(error)
	sums    sums

	mu     sync.Mutex
	broken error // an entry could not be understood: nothing after it may be applied, and no snapshot may pretend that it was
}

// Apply implements [raft.FSM].
func (f *fsm) Apply(entry *raft.Log) any {
	if err := f.failure(); err != nil {
		return outcome{err: err}
	}
	var p proposal
	if err := json.Unmarshal(entry.Data, &p); err != nil {
		return outcome{err: f.fail(fmt.Errorf("log entry %d: %w", entry.Index, err))}
	}
	if p.Version != proposalVersion {
		return outcome{err: f.fail(fmt.Errorf("log entry %d has version %d, this binary knows %d: use a newer one", entry.Index, p.Version, proposalVersion))}
	}
	defer func() { f.sums.add(store.Sum{Index: entry.Index, Sum: f.machine.Sum()}) }()
	if p.Term != entry.Term {
		return outcome{err: store.ErrNotLeader}
	}
	rev, err := f.machine.Apply(store.Rev(entry.Index), p.Txn)
	return outcome{rev, err}
}

// Snapshot implements [raft.FSM].
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.failure(); err != nil {
		return nil, err
	}
	rev, data := f.machine.Image()
	return &image{rev, data}, nil
}

// Restore implements [raft.FSM].
func (f *fsm) Restore(r io.ReadCloser) error {
	defer r.Close()
	rev, data, err := readImage(r)
	if err != nil {
		return fmt.Errorf("restore the snapshot: %w", err)
	}
	f.machine.Replace(rev, data)
	f.sums.forget()
	return nil
}

func (f *fsm) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.broken
}

func (f *fsm) fail(err error) error {
	f.mu.Lock()
	// It was committed, and another member may have understood it: the proposer must take it for possible.
	f.broken = fmt.Errorf("%w: %w", store.ErrUnknown, err)
	f.mu.Unlock()
	f.fatal(err)
	return f.failure()
}
