package raftlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/vzcluster/vzcluster/pkg/store"
)

// AddNonvoter adds the server id at raftAddr as one that gets every entry and has no vote, or changes its address; a member that
// votes is left alone. It works on the leader and returns when the change is committed. ErrNotLeader: nothing was changed;
// ErrUnknown: perhaps it was.
func (l *Log) AddNonvoter(ctx context.Context, id, raftAddr string) error {
	if id == "" || raftAddr == "" {
		return errors.New("raft: a member needs an id and an address")
	}
	if !l.isUp() || l.raft.State() != raft.Leader {
		return store.ErrNotLeader
	}
	for _, s := range l.Servers() {
		switch {
		case s.ID == id && s.RaftAddr == raftAddr:
			return nil
		case s.ID == id && s.Voter:
			return l.AddVoter(ctx, id, raftAddr) // only its address is another
		case s.ID != id && s.RaftAddr == raftAddr:
			return fmt.Errorf("raft: the address %s belongs to the master %q", raftAddr, s.ID)
		}
	}
	return l.change(ctx, func() raft.Future {
		return l.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(raftAddr), 0, enqueueTimeout)
	})
}

// RemoveServer removes a member; one that is not there is no error. It works on the leader, not for itself while it leads others, and
// returns when the change is committed. Errors as those of AddNonvoter.
func (l *Log) RemoveServer(ctx context.Context, id string) error {
	if !l.isUp() || l.raft.State() != raft.Leader {
		return store.ErrNotLeader
	}
	if id == l.conf.ID {
		return errors.New("raft: a leader does not remove itself: hand the leadership over first")
	}
	for _, s := range l.Servers() {
		if s.ID == id {
			return l.change(ctx, func() raft.Future { return l.raft.RemoveServer(raft.ServerID(id), 0, enqueueTimeout) })
		}
	}
	return nil
}

// TransferLeadership has the leader hand over to the voter id, or to the most up-to-date one if id is empty. It returns when another
// one has begun an election that it is bound to win, or with why none did.
func (l *Log) TransferLeadership(ctx context.Context, id string) error {
	if !l.isUp() || l.raft.State() != raft.Leader {
		return store.ErrNotLeader
	}
	to := raft.ServerAddress("")
	for _, s := range l.Servers() {
		if s.ID == id && s.Voter {
			to = raft.ServerAddress(s.RaftAddr)
		}
	}
	if id != "" && to == "" {
		return fmt.Errorf("raft: %q is no voter", id)
	}
	return l.calls.await(ctx, transferTimeout, func() error {
		if id == "" {
			return l.raft.LeadershipTransfer().Error()
		}
		return l.raft.LeadershipTransferToServer(raft.ServerID(id), to).Error()
	})
}

func (l *Log) change(ctx context.Context, begin func() raft.Future) error {
	if err := l.calls.await(ctx, changeTimeout, func() error { return begin().Error() }); err != nil {
		return fate(err)
	}
	return nil
}

// Progress tells how far this member has come; the zero value before Run.
func (l *Log) Progress() store.Progress {
	if !l.isUp() {
		return store.Progress{}
	}
	p := store.Progress{Term: l.raft.CurrentTerm(), LastIndex: l.raft.LastIndex(), Applied: l.raft.AppliedIndex()}
	if l.raft.State() != raft.Leader {
		p.Contact = l.raft.LastContact()
	}
	return p
}
