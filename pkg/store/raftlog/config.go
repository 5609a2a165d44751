package raftlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/hashicorp/raft"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// Config says who a member is. ID, DataDir and RaftAddr are required.
type Config struct {
	ID       string // of the raft server: stable over restarts; bound to DataDir at the first start
	DataDir  string // made if it is missing
	RaftAddr string // host:port that the other masters dial
	BindAddr string // host:port to listen on; empty: RaftAddr
	APIAddr  string // what Leader tells while this member leads and its cluster.Master record is not there yet

	// Bootstrap makes a new cluster of this one member when DataDir holds nothing; it changes nothing on later starts. Without it a
	// new member waits until a leader adds it.
	Bootstrap bool

	// Admit, if not nil, is asked at each start, before this member can be reached, whether it may take part with the directory that it
	// has. peers are the APIs of the other masters as the directory knows them. there: a cluster exists, so none is to be made.
	Admit func(ctx context.Context, p cluster.Presence, peers []string) (there bool, err error)

	// Stream replaces plain TCP, for TLS and for tests. It is called once per Run; the layer is closed with it.
	Stream func() (raft.StreamLayer, error)

	// DiskLimit is how long one operation on the disk may take before it counts as hung. 0: DefaultDiskLimit.
	DiskLimit time.Duration
	// Abandon is called when the disk hangs and must end the process at once: as long as it lives the other masters take it for
	// well. nil: Run returns ErrDiskHung.
	Abandon func(error)

	Logger *slog.Logger // nil: slog.Default()

	// SnapshotThreshold and TrailingLogs are how many entries make a snapshot, and how many are kept behind it for followers that
	// lag. 0: the library's defaults (8192 and 10240).
	SnapshotThreshold, TrailingLogs uint64
}

func (c *Config) check() error {
	switch {
	case c.ID == "":
		return errors.New("raft: an id is required")
	case c.DataDir == "":
		return errors.New("raft: a data directory is required")
	}
	if c.Stream != nil {
		return nil
	}
	host, _, err := net.SplitHostPort(c.RaftAddr)
	if err != nil {
		return fmt.Errorf("raft address %q: %w", c.RaftAddr, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("raft address %q: the other masters can't dial this", c.RaftAddr)
	}
	return nil
}

// library returns the settings of hashicorp/raft: its defaults but for what we know better.
func (c *Config) library(logger *slog.Logger) *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(c.ID)
	conf.Logger = newHclog(logger)
	conf.NoLegacyTelemetry = true
	// A master that was removed keeps running and tells so, rather than being dead without a word.
	conf.ShutdownOnRemove = false
	if c.SnapshotThreshold > 0 {
		conf.SnapshotThreshold = c.SnapshotThreshold
	}
	if c.TrailingLogs > 0 {
		conf.TrailingLogs = c.TrailingLogs
	}
	return conf
}
