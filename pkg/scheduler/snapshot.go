package scheduler

import (
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// DefaultCPUOvercommit is how many times a node's CPUs may be promised: system containers are idle most of the time.
const DefaultCPUOvercommit = 4.0

// Node is what the scheduler needs to know of one node.
type Node struct {
	Name     string
	State    cluster.NodeState
	Cordoned bool
	Capacity cluster.Resources
	Used     cluster.Resources // promised to containers and reserved by open migrations
}

// Snapshot is the cluster at one moment. Its nodes are sorted by name.
type Snapshot struct {
	Nodes         []Node
	CPUOvercommit float64 // at least 1; 0: DefaultCPUOvercommit
}

// NewSnapshot counts the cluster's records. While a migration is open its reservation counts on the side that does not own the
// container: at the target before the commit, at the source after it (the dead copy still lies there). closed migrations count nowhere.
func NewSnapshot(nodes []cluster.Node, containers []cluster.Container, migrations []cluster.Migration, overcommit float64) Snapshot {
	s := Snapshot{CPUOvercommit: overcommit}
	used := map[string]cluster.Resources{}
	owner := map[string]string{}
	for _, c := range containers {
		used[c.Node] = add(used[c.Node], c.Spec.Resources)
		owner[c.CTID] = c.Node
	}
	for _, m := range migrations {
		if m.Closed {
			continue
		}
		for _, side := range []string{m.Source, m.Target} {
			if side != owner[m.CTID] {
				used[side] = add(used[side], m.Reserved)
			}
		}
	}
	for _, n := range nodes {
		s.Nodes = append(s.Nodes, Node{Name: n.Name, State: n.State, Cordoned: n.Cordoned, Capacity: n.Info.Capacity, Used: used[n.Name]})
	}
	slices.SortFunc(s.Nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return s
}

// add is a sum that stays at the maximum instead of wrapping: an absurd record must make a node look full, never empty.
func add(a, b cluster.Resources) cluster.Resources {
	sat := func(x, y uint64) uint64 {
		if s, carry := bits.Add64(x, y, 0); carry == 0 {
			return s
		}
		return math.MaxUint64
	}
	return cluster.Resources{
		CPUMilli:    sat(a.CPUMilli, b.CPUMilli),
		MemoryBytes: sat(a.MemoryBytes, b.MemoryBytes),
		DiskBytes:   sat(a.DiskBytes, b.DiskBytes),
	}
}

// limit is what may be promised of the node in all.
func (s Snapshot) limit(n Node) cluster.Resources {
	factor := s.CPUOvercommit
	if factor == 0 {
		factor = DefaultCPUOvercommit
	}
	r := n.Capacity
	if cpu := float64(r.CPUMilli) * max(factor, 1); cpu < math.MaxInt64 {
		r.CPUMilli = uint64(cpu)
	}
	return r
}
