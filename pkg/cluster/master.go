package cluster

import "time"

// Master is one member of the masters as the others know it.
type Master struct {
	ID       string `json:"id"`
	RaftAddr string `json:"raft_addr"`
	APIAddr  string `json:"api_addr"`
	// Instance, Starts and Nonce are those of the last start of it that the leader has admitted; see [Presence].
	Instance string `json:"instance,omitempty"`
	Starts   uint64 `json:"starts,omitempty"`
	Nonce    string `json:"nonce,omitempty"`
}

// Presence is what a master says of itself and its data directory. A vote is only worth something if the voter remembers what it has
// acknowledged: the others compare this with what they know, and refuse a directory that is a copy, an older state, or a new one
// under the name of a member.
type Presence struct {
	ID        string `json:"id"`
	RaftAddr  string `json:"raft_addr,omitempty"`
	APIAddr   string `json:"api_addr"`
	ClusterID string `json:"cluster_id,omitempty"` // that the directory belongs to; empty: to none so far
	Instance  string `json:"instance"`             // random, made with the directory
	Starts    uint64 `json:"starts"`               // how often a master has started on the directory, this time included
	Nonce     string `json:"nonce"`                // random, of this start
	LastIndex uint64 `json:"last_index"`           // the end of its log
	Empty     bool   `json:"empty"`                // nothing of a cluster is in the directory
}

// MasterState is how a master sees itself and the others.
type MasterState struct {
	Presence
	Version string   `json:"version"`
	Format  int      `json:"format"` // of the records that it writes
	Leader  string   `json:"leader"` // the API address of the master that it takes for the leader; empty: none
	Term    uint64   `json:"term"`
	Applied uint64   `json:"applied"`         // index of the last log entry that it has applied
	Knows   []string `json:"knows,omitempty"` // the members as far as it has heard; a member votes for no other
	// Contact is when it last heard from the leader, or as the leader from a quorum; zero: never.
	Contact time.Time `json:"contact"`
	// Sums are the checksums of its state after the last entries that it has applied, newest first. None with a store that others keep.
	Sums []Sum `json:"sums,omitempty"`
	// Alarms says in words what an operator should look at, as it sees it.
	Alarms []string `json:"alarms,omitempty"`
}

// MasterInfo is one line of the list of masters.
type MasterInfo struct {
	Master
	Voter  bool         `json:"voter"` // false: it only follows, until it has caught up and an odd number of voters results
	Leader bool         `json:"leader"`
	State  *MasterState `json:"state,omitempty"` // absent: it does not answer
	Error  string       `json:"error,omitempty"` // why not
	Lag    uint64       `json:"lag"`             // log entries that it is behind the leader
}
