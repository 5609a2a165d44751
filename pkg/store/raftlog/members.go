package raftlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/vzcluster/vzcluster/pkg/store"
)

// Server is one member of the raft configuration.
type Server = store.Server

// Leader implements [store.Log]: the address is that of the leader's cluster.Master record.
func (l *Log) Leader() (addr string, ok bool) {
	if !l.isUp() {
		return "", false
	}
	_, id := l.raft.LeaderWithID()
	if id == "" {
		return "", false
	}
	if value, ok := l.machine.Get(store.MasterKey(string(id))); ok {
		return store.MasterAddr(value)
	}
	if string(id) == l.conf.ID && l.conf.APIAddr != "" {
		return l.conf.APIAddr, true
	}
	return "", false
}

// Servers returns the members as this one knows them; nil before Run.
func (l *Log) Servers() []Server {
	if !l.isUp() {
		return nil
	}
	// The future of this one call is done when it is made.
	future := l.raft.GetConfiguration()
	if future.Error() != nil {
		return nil
	}
	_, leader := l.raft.LeaderWithID()
	var servers []Server
	for _, s := range future.Configuration().Servers {
		servers = append(servers, Server{ID: string(s.ID), RaftAddr: string(s.Address), Voter: s.Suffrage == raft.Voter, Leader: s.ID == leader})
	}
	return servers
}

func (l *Log) voters() int {
	n := 0
	for _, s := range l.Servers() {
		if s.Voter {
			n++
		}
	}
	return n
}

// Stats returns raft's own figures, for people; nil before Run.
func (l *Log) Stats() map[string]string {
	if !l.isUp() {
		return nil
	}
	return l.raft.Stats()
}

// AddVoter adds the server id at raftAddr to the members, or changes its address; one that is there already is left alone. It
// works on the leader and returns when the change is committed. ErrNotLeader: nothing was changed; ErrUnknown: perhaps it was.
func (l *Log) AddVoter(ctx context.Context, id, raftAddr string) error {
	if id == "" || raftAddr == "" {
		return errors.New("raft: a voter needs an id and an address")
	}
	if !l.isUp() || l.raft.State() != raft.Leader {
		return store.ErrNotLeader
	}
	for _, s := range l.Servers() {
		switch {
		case s.ID == id && s.RaftAddr == raftAddr && s.Voter:
			return nil
		case s.ID != id && s.RaftAddr == raftAddr:
			return fmt.Errorf("raft: the address %s belongs to the master %q", raftAddr, s.ID)
		}
	}
	err := l.calls.await(ctx, changeTimeout, func() error {
		return l.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(raftAddr), 0, enqueueTimeout).Error()
	})
	if err != nil {
		return fate(err)
	}
	return nil
}
