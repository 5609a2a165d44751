package cluster

import "time"

// Status is the answer to "how is the cluster?".
type Status struct {
	Leader     string         `json:"leader"`      // id of the master that leads
	LeaderAddr string         `json:"leader_addr"` // its API address
	Term       uint64         `json:"term"`
	Rev        uint64         `json:"rev"` // revision of the state that was counted
	Masters    []Master       `json:"masters"`
	Nodes      map[string]int `json:"nodes"`      // by state; "cordoned" counts again those that are cordoned
	Containers map[string]int `json:"containers"` // by state
	Migrations int            `json:"migrations"` // open ones
	Templates  int            `json:"templates"`
	Version    string         `json:"version"`
	LedSince   time.Time      `json:"led_since"`
	Format     int            `json:"format"`           // of the records that is in force
	Alarms     []string       `json:"alarms,omitempty"` // what an operator should look at
}

// Gone is what the cluster remembers of a destroyed container: so that a copy which turns up later on a node that was off can be
// told from one that the cluster never knew, and so that the same CTID used again starts above every epoch of the old one.
type Gone struct {
	CTID  string    `json:"ctid"`
	Epoch Epoch     `json:"epoch"` // the last one
	When  time.Time `json:"when"`
}
