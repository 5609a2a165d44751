package raftlog

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// ownerFile in the data directory is an [Owner] while the member begins afresh: so that a resync that was interrupted can be run again.
const ownerFile = "resync.json"

// Owner is what a data directory says of the member that it belongs to, while no process uses it.
type Owner struct {
	ID    string         `json:"id"`    // empty: nobody's so far
	Peers []string       `json:"peers"` // APIs of the other masters, as last known
	Self  cluster.Master `json:"self"`  // the record that the cluster had of it when an earlier resync began; zero: none was interrupted
}

// ReadOwner reads it. Nothing in the directory needs to be whole but these small files; those that are missing are no error.
func ReadOwner(dir string) (Owner, error) {
	var o Owner
	b, err := os.ReadFile(filepath.Join(dir, ownerFile))
	if err == nil {
		return o, json.Unmarshal(b, &o)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return o, err
	}
	id, err := os.ReadFile(filepath.Join(dir, "id"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return o, err
	}
	o.ID = strings.TrimSpace(string(id))
	if i, err := readIdentity(dir); err == nil {
		o.Peers = i.Peers
	}
	return o, nil
}

// Note notes o in dir until [Settled].
func (o Owner) Note(dir string) error {
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return writeID(filepath.Join(dir, ownerFile), string(b))
}

// Settled forgets what Note has noted: the member has begun afresh.
func Settled(dir string) error {
	if err := os.Remove(filepath.Join(dir, ownerFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Claim keeps every member from running on dir until release is called. It fails when one does.
func Claim(dir string) (release func() error, err error) {
	f, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	return f.Close, nil
}
