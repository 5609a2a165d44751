package raftlog

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// identityFile says which directory this is: by it the others tell a member's own directory from a copy, an older state, or a new one.
const identityFile = "identity.json"

// identity is what is in it.
type identity struct {
	Instance  string   `json:"instance"`             // random, made with the directory
	Starts    uint64   `json:"starts"`               // how often a member has started on it
	ClusterID string   `json:"cluster_id,omitempty"` // that it belongs to
	Peers     []string `json:"peers,omitempty"`      // API addresses of the other masters, as last known: who to ask before voting

	path string
	mu   sync.Mutex
}

func readIdentity(dir string) (*identity, error) {
	i := &identity{path: filepath.Join(dir, identityFile)}
	b, err := os.ReadFile(i.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		i.Instance = random()
		return i, nil
	case err != nil:
		return nil, err
	}
	if err := json.Unmarshal(b, i); err != nil {
		return nil, fmt.Errorf("%s: %w", i.path, err)
	}
	return i, nil
}

// write leaves the whole new content or the whole old one, whenever the power goes.
func (i *identity) write() error {
	b, err := json.Marshal(i)
	if err != nil {
		return err
	}
	return writeID(i.path, string(b))
}

func random() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// present opens the identity, counts this start, and asks whether this member may take part. existing: it has a log. It tells whether
// a new cluster may be made.
func (l *Log) present(existing bool, last uint64) (found bool, err error) {
	id, err := readIdentity(l.conf.DataDir)
	if err != nil {
		return false, err
	}
	id.Starts++
	if err := id.write(); err != nil {
		return false, err
	}
	p := cluster.Presence{ID: l.conf.ID, RaftAddr: l.conf.RaftAddr, APIAddr: l.conf.APIAddr, ClusterID: id.ClusterID, Instance: id.Instance,
		Starts: id.Starts, Nonce: random(), LastIndex: last, Empty: !existing}
	l.presence.Store(&presence{p, id})
	if l.conf.Admit == nil {
		return l.conf.Bootstrap, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), admitTimeout)
	defer cancel()
	there, err := l.conf.Admit(ctx, p, slices.Clone(id.Peers))
	return l.conf.Bootstrap && !there, err
}

// presence is a Presence with the file behind it.
type presence struct {
	cluster.Presence
	id *identity
}

// Presence is what this member shows to the others; false: its directory is not open yet.
func (l *Log) Presence() (cluster.Presence, bool) {
	p := l.presence.Load()
	if p == nil {
		return cluster.Presence{}, false
	}
	return p.Presence, true
}

// Remember notes in the directory which cluster it belongs to, and where the other masters are.
func (l *Log) Remember(clusterID string, peers []string) error {
	p := l.presence.Load()
	if p == nil {
		return errStopped
	}
	p.id.mu.Lock()
	defer p.id.mu.Unlock()
	if p.id.ClusterID == clusterID && slices.Equal(p.id.Peers, peers) {
		return nil
	}
	p.id.ClusterID, p.id.Peers = clusterID, slices.Clone(peers)
	err := p.id.write()
	if err != nil {
		err = fmt.Errorf("raft: %w", err)
		l.die(err)
	}
	return err
}

// lastIndex is the end of what is on disk: of the log, or of the newest snapshot.
func lastIndex(logs raft.LogStore, snapshots raft.SnapshotStore) (uint64, error) {
	last, err := logs.LastIndex()
	if err != nil {
		return 0, err
	}
	list, err := snapshots.List()
	if err != nil {
		return 0, err
	}
	if len(list) > 0 {
		last = max(last, list[0].Index)
	}
	return last, nil
}
