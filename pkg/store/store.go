// Package store keeps the cluster's records: a replicated log of results with preconditions, and an in-memory mirror to read.
//
// Writers never send commands. [Store.Update] runs a closure on a snapshot, collects what it read and wrote, and proposes one
// [Txn]: "if these keys are still at these revisions, put and delete those". That is exactly an etcd transaction, and a raft FSM can
// check it deterministically, so every back end behaves the same and mixed versions of the binary can't compute different states.
// Readers use [Store.View], an immutable snapshot, and [Store.Wait], which returns the next one. There are no events.
package store

import (
	"context"
	"errors"
)

// Rev is the revision of the log at which a key was last written. It only grows. 0 means: does not exist.
type Rev uint64

// Limits of one transaction: those of etcd, so that every back end takes what one takes. Of its 128 operations one is left to the back
// end itself.
const (
	MaxTxnOps   = 128 - 1
	MaxTxnBytes = 1<<20 + 1<<19 // 1.5 MiB
)

var (
	// ErrConflict: a key was not at the revision that the transaction was made for. Nothing was written. Read again.
	ErrConflict = errors.New("store: conflict")
	// ErrNotLeader: this member may not write. Nothing was written. Ask the leader.
	ErrNotLeader = errors.New("store: not the leader")
	// ErrUnknown: the proposal was sent and its outcome is not known (leadership lost, time-out). It may be committed later.
	ErrUnknown = errors.New("store: outcome unknown")
	// ErrTooLarge: the transaction is beyond MaxTxnOps or MaxTxnBytes. Nothing was written.
	ErrTooLarge = errors.New("store: transaction too large")
)

// Txn is a write set with preconditions. All of it takes effect or nothing.
type Txn struct {
	If  map[string]Rev    `json:"if,omitempty"` // key -> revision it must have; 0: must not exist
	Put map[string][]byte `json:"put,omitempty"`
	Del []string          `json:"del,omitempty"`
}

// KV is one key's value and when it was last written.
type KV struct {
	Value []byte `json:"v"`
	Rev   Rev    `json:"r"`
}

// Batch is what a log hands to its follower: either a full image (Reset) or the effect of one committed transaction. A batch
// without any change only says that the follower has seen everything up to Rev. Whoever receives a batch must not change it.
type Batch struct {
	Rev   Rev
	Reset bool // Put is the whole state, with the revision of each key
	Put   map[string]KV
	Del   []string
}

// Log is what a back end provides: agreement, nothing else. Implementations: raftlog (embedded Raft), memlog (tests), etcdlog.
type Log interface {
	// Commit proposes t, once [Txn.Check] is content, and waits for its outcome: the revision it was committed at, or ErrConflict,
	// ErrNotLeader, ErrUnknown. The revision that comes with ErrConflict is that of the state which refused t (0: not known): a
	// follower that has reached it sees why.
	Commit(ctx context.Context, t Txn) (Rev, error)
	// Follow calls apply with a full image first and then with every batch in order, until ctx ends, which is no error. apply must
	// not block. A follower that fell behind is given a full image again.
	Follow(ctx context.Context, apply func(Batch)) error
	// Lead calls run each time this member becomes the leader, after a barrier; run's ctx dies with the leadership, and Lead waits
	// for run to return before it calls it again. If run returns by itself, leadership is given up. Lead returns when ctx ends, which
	// is no error. A Commit under run's ctx is refused once that leadership is over, even if this member leads again.
	Lead(ctx context.Context, run func(ctx context.Context, term uint64) error) error
	// Leader tells the API address of the present leader, and whether there is one.
	Leader() (addr string, ok bool)
	// ReadIndex returns a revision that covers everything acknowledged before the call, confirmed with a quorum: a reader that waits
	// for it reads linearizably. ErrNotLeader on a follower.
	ReadIndex(ctx context.Context) (Rev, error)
}
