package raftlog

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// peerEvery is how often a leader looks at its followers.
	peerEvery = time.Second
	// contactFresh: a follower that answered in this time is there.
	contactFresh = 3 * time.Second
	// wedgeAfter is how long a follower that is there may lack entries without taking any.
	wedgeAfter = 10 * time.Second
)

// peer is what the leader of a term knows of one follower.
type peer struct {
	term    uint64
	contact time.Time // of its last answer
	match   uint64    // the last entry that it has confirmed
	moved   time.Time // when match grew, or the leader last found nothing to send
	images  int       // snapshots being sent to it
}

// peers watches the answers of the followers, which raft keeps to itself. A follower may answer heartbeats and yet never get
// another entry (hashicorp/raft #612): the cluster then lives on with one voter less than it seems to have.
type peers struct {
	mu sync.Mutex
	by map[string]*peer
}

// of returns the record of a follower in a term; p.mu is held.
func (p *peers) of(id string, term uint64, now time.Time) *peer {
	if p.by == nil {
		p.by = make(map[string]*peer)
	}
	f := p.by[id]
	if f == nil || f.term != term {
		f = &peer{term: term, moved: now}
		p.by[id] = f
	}
	return f
}

// heard notes an answer. match is the last entry that it confirms; 0: it confirms none.
func (p *peers) heard(id string, term, match uint64, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.of(id, term, now)
	f.contact = now
	if match > f.match {
		f.match, f.moved = match, now
	}
}

// sending notes that a snapshot is begun (1) or has ended (-1).
func (p *peers) sending(id string, term uint64, change int, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.of(id, term, now)
	f.images += change
	f.moved = now
}

// wedged tells whether the follower id answers but takes no entry though it lacks some of those up to last.
func (p *peers) wedged(id string, term, last uint64, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.by[id]
	if f == nil || f.term != term {
		return false
	}
	if f.match >= last || f.images > 0 {
		f.moved = now
	}
	return now.Sub(f.contact) < contactFresh && now.Sub(f.moved) > wedgeAfter
}

// silent tells whether the follower id has not answered for a while.
func (p *peers) silent(id string, term uint64, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.by[id]
	return f == nil || f.term != term || now.Sub(f.contact) >= contactFresh
}

// tracked is a transport that notes what the followers answer.
type tracked struct {
	*raft.NetworkTransport
	peers *peers
}

// AppendEntries implements [raft.Transport]. Heartbeats come through here, too; they confirm nothing.
func (t tracked) AppendEntries(id raft.ServerID, target raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	err := t.NetworkTransport.AppendEntries(id, target, req, resp)
	if err != nil {
		return err
	}
	match := uint64(0)
	if resp.Success {
		match = req.PrevLogEntry
		if n := len(req.Entries); n > 0 {
			match = req.Entries[n-1].Index
		}
	}
	t.peers.heard(string(id), req.Term, match, time.Now())
	return nil
}

// InstallSnapshot implements [raft.Transport].
func (t tracked) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	t.peers.sending(string(id), req.Term, 1, time.Now())
	defer func() { t.peers.sending(string(id), req.Term, -1, time.Now()) }()
	return t.NetworkTransport.InstallSnapshot(id, target, req, resp, data)
}

// watchPeers raises and ends the alarms about followers, until ctx ends.
func (l *Log) watchPeers(ctx context.Context) {
	tick := time.NewTicker(peerEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.alarms.set(l.followerAlarms(time.Now()), l.log)
		case <-ctx.Done():
			return
		}
	}
}

// followerAlarms says what is wrong with the followers of this leader; nil on a follower.
func (l *Log) followerAlarms(now time.Time) map[string]string {
	if l.raft.State() != raft.Leader {
		return nil
	}
	term, last := l.raft.CurrentTerm(), l.raft.LastIndex()
	found := make(map[string]string)
	for _, s := range l.Servers() {
		switch {
		case s.ID == l.conf.ID:
		case l.peers.wedged(s.ID, term, last, now):
			found[s.ID] = "master " + s.ID + " answers but takes no entries: it counts for no quorum; restart it, and if that does not help have this leader step down"
		case l.peers.silent(s.ID, term, now):
			found[s.ID] = "master " + s.ID + " does not answer"
		}
	}
	return found
}
