package cluster

import "time"

// NodeState is what the leader concludes about a host from its session. Only transitions are stored.
type NodeState string

// The states of a node.
const (
	NodeOnline  NodeState = "online"  // it renews its lease
	NodeUnknown NodeState = "unknown" // silent, but its lease may still run
	NodeOffline NodeState = "offline" // its lease is over
)

// Features are what a host can do, as its agent probed it at start. Compared before a migration.
type Features struct {
	Kernel      string   `json:"kernel"`
	CRIU        string   `json:"criu"`         // version; empty: no usable CRIU
	CRIUVersion int      `json:"criu_version"` // 40201 for 4.2.1
	Cgroup      string   `json:"cgroup"`       // v1, hybrid or v2
	Arch        string   `json:"arch"`
	CPUFlags    []string `json:"cpu_flags,omitempty"`
	Transfer    []int32  `json:"transfer"` // versions of the transfer protocol
}

// NodeInfo is what an agent says about its host when its session begins.
type NodeInfo struct {
	Address  string    `json:"address"` // host:port of its node-to-node server
	Capacity Resources `json:"capacity"`
	Version  string    `json:"version"`
	Features Features  `json:"features"`
}

// Node is the record of one host.
type Node struct {
	Name         string    `json:"name"`
	State        NodeState `json:"state"`
	Cordoned     bool      `json:"cordoned,omitempty"`
	CordonReason string    `json:"cordon_reason,omitempty"`
	BootID       string    `json:"boot_id"`
	AgentStarts  uint64    `json:"agent_starts"`
	Info         NodeInfo  `json:"info"`
	Created      time.Time `json:"created"`
	Changed      time.Time `json:"changed"`
}

// NodeLive is what only the leader's memory knows of a node.
type NodeLive struct {
	LastReport time.Time     `json:"last_report"`
	LeaseLeft  time.Duration `json:"lease_left"`
	Usage      Usage         `json:"usage"`
	Running    int           `json:"running"` // containers that run there by its last report
	// Copies are what the node reported to hold, dead copies included: how an operator sees that a container exists once.
	Copies []CopyInfo `json:"copies,omitempty"`
}

// CopyInfo names one copy of a container on one node.
type CopyInfo struct {
	CTID  string    `json:"ctid"`
	Epoch Epoch     `json:"epoch"`
	State CopyState `json:"state"`
	Pid   int       `json:"pid,omitempty"`
	Error string    `json:"error,omitempty"`
}

// Template is a root file system that containers are made from. The nodes hold the content, named by its digest.
type Template struct {
	Name    string    `json:"name"`
	Digest  string    `json:"digest"` // blake3, hex
	Size    uint64    `json:"size"`   // bytes of the tar
	Created time.Time `json:"created"`
}

// Operation remembers how the mutation with a key ended.
type Operation struct {
	Key     string    `json:"key"`
	Method  string    `json:"method"`
	Hash    string    `json:"hash"`              // of the request without its key
	Object  string    `json:"object"`            // CTID, node, template or migration id that it made or changed
	RunGen  uint64    `json:"run_gen,omitempty"` // of a container's start or stop: the order that it made, or that stood already
	Created time.Time `json:"created"`
}
