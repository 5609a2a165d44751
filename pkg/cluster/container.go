package cluster

import "time"

// Epoch is the fencing token of a container: it goes up by one whenever the right to run it changes hands (start of its life,
// commit and abort of a migration, fail-over). Container.Node together with Container.Epoch says who may run it.
type Epoch uint64

// RunState is what the operator wants of a container.
type RunState string

// The run states that an operator can want.
const (
	WantStopped RunState = "stopped"
	WantRunning RunState = "running"
)

// ContainerState is what the cluster knows of a container, from its owner's reports.
type ContainerState string

// The states of a container.
const (
	ContainerCreating   ContainerState = "creating"   // placed; the node is unpacking the template
	ContainerStopped    ContainerState = "stopped"    // complete on its node, no process
	ContainerRunning    ContainerState = "running"    // its init runs
	ContainerDestroying ContainerState = "destroying" // the node is removing it; the record goes with the last file
	ContainerFailed     ContainerState = "failed"     // it could not be created; only destroy is possible
)

// Network is how a container is attached: a veth into a bridge of its host.
type Network struct {
	Bridge     string   `json:"bridge,omitempty"`     // empty: the node's default bridge
	MAC        string   `json:"mac,omitempty"`        // fixed for the container's life
	Addresses  []string `json:"addresses,omitempty"`  // CIDR
	Gateway    string   `json:"gateway,omitempty"`    // empty: the node's default
	Nameserver []string `json:"nameserver,omitempty"` // written to resolv.conf; empty: the node's default
}

// Spec is what the operator asked for. The leader checks it with [Spec.Validate] before it is stored.
type Spec struct {
	Template   string    `json:"template"`
	Hostname   string    `json:"hostname,omitempty"`
	Resources  Resources `json:"resources"`            // promised, and counted at placement
	SwapBytes  uint64    `json:"swap_bytes,omitempty"` // on top of memory; 0: none
	CPUUnits   uint64    `json:"cpuunits,omitempty"`   // weight; 1000 is a plain container, as in OpenVZ. 0: 1000
	CPULimit   uint64    `json:"cpulimit,omitempty"`   // per cent of one CPU; 0: no limit but Resources.CPUMilli
	NumProc    uint64    `json:"numproc,omitempty"`    // processes and threads; 0: default
	Net        Network   `json:"net"`
	Privileged bool      `json:"privileged,omitempty"` // no user namespace
	OnBoot     bool      `json:"onboot"`               // start again after the host booted, if it was to run
	Init       []string  `json:"init,omitempty"`       // argv of pid 1; empty: /sbin/init
}

// Container is the record of one container.
type Container struct {
	CTID    string         `json:"ctid"` // decimal digits, unique for ever in this cluster's life
	Name    string         `json:"name,omitempty"`
	Node    string         `json:"node"`
	Epoch   Epoch          `json:"epoch"`
	Spec    Spec           `json:"spec"`
	SpecGen uint64         `json:"spec_gen"` // goes up with each change of Spec
	Want    RunState       `json:"want"`
	RunGen  uint64         `json:"run_gen"` // goes up with each start and stop order: an agent carries each out once
	Force   bool           `json:"force,omitempty"`
	State   ContainerState `json:"state"`
	Reason  string         `json:"reason,omitempty"`  // why the last order failed, for people
	Failed  uint64         `json:"failed,omitempty"`  // the RunGen that failed, 0 if none
	Digest  string         `json:"digest,omitempty"`  // of the template it was made from
	IDBase  uint32         `json:"id_base,omitempty"` // host id of the container's root; 0: privileged
	// StopTimeout is how long init may take after the stop order before it is killed.
	StopTimeout time.Duration `json:"stop_timeout,omitempty"`
	Migration   string        `json:"migration,omitempty"` // the open migration: also the lock against a second operation
	// Adopt: the record was restored from before the present state of the hosts. Nobody acts on it until the leader has found out from
	// their reports where the container really is.
	Adopt bool `json:"adopt,omitempty"`
	// BootID is the boot of its node in which the container was last ordered to run; another boot of that node means that it is down.
	BootID  string    `json:"boot_id,omitempty"`
	Created time.Time `json:"created"`
	Changed time.Time `json:"changed"`
}

// IDRange is how many user and group ids each container has.
const IDRange = 65536

// CopyState is what an agent says of one copy that it holds.
type CopyState string

// The states of a copy.
const (
	CopyCreating CopyState = "creating"
	CopyStopped  CopyState = "stopped"
	CopyRunning  CopyState = "running"
	CopyFrozen   CopyState = "frozen"   // the source of a migration from freeze to its verdict
	CopyStaged   CopyState = "staged"   // the target of a migration before its release
	CopyRetired  CopyState = "retired"  // the dead copy that a migration left: kept frozen or on disk until its discard
	CopyFailed   CopyState = "failed"   // could not be made
	CopyDeclined CopyState = "declined" // an order was refused: CopyReport.error says why
)

// Resources are amounts that a node has and a container is promised.
type Resources struct {
	CPUMilli    uint64 `json:"cpu_milli"` // thousandths of a CPU
	MemoryBytes uint64 `json:"memory_bytes"`
	DiskBytes   uint64 `json:"disk_bytes"`
}

// Add returns the sum.
func (r Resources) Add(o Resources) Resources {
	return Resources{r.CPUMilli + o.CPUMilli, r.MemoryBytes + o.MemoryBytes, r.DiskBytes + o.DiskBytes}
}

// Sub returns the difference, each part at least 0.
func (r Resources) Sub(o Resources) Resources {
	sub := func(a, b uint64) uint64 { return a - min(a, b) }
	return Resources{sub(r.CPUMilli, o.CPUMilli), sub(r.MemoryBytes, o.MemoryBytes), sub(r.DiskBytes, o.DiskBytes)}
}

// Usage is what a container or a host uses at a moment.
type Usage struct {
	CPUNanos    uint64 `json:"cpu_ns"` // since start
	MemoryBytes uint64 `json:"memory_bytes"`
	DiskBytes   uint64 `json:"disk_bytes"`
	Pids        uint64 `json:"pids"`
	NetRxBytes  uint64 `json:"net_rx_bytes"`
	NetTxBytes  uint64 `json:"net_tx_bytes"`
}
