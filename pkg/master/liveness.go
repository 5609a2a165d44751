package master

import (
	"log/slog"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
)

// Leases are the times of the node sessions.
type Leases struct {
	Period time.Duration // between two reports
	Lease  time.Duration // an agent's right, counted by it from when it sent the report
}

// DefaultLeases are those of every cluster that was not told otherwise.
var DefaultLeases = Leases{Period: time.Second, Lease: 15 * time.Second}

// silent is how long a node may be silent before it counts as unknown: two missed reports, and never less than 5 s.
func (l Leases) silent() time.Duration { return max(3*l.Period, 5*time.Second) }

// over is when a lease is certainly over on the node's own clock too: 1 % of drift and a margin of 1 s (R13).
func (l Leases) over() time.Duration { return l.Lease + l.Lease/100 + time.Second }

// judge is the liveness plan for one node: its record after what was reported, and when to look again.
func judge(n cluster.Node, r *report, since, now time.Time, l Leases) (cluster.Node, time.Time) {
	if r != nil && r.At.Before(since) {
		r = nil
	}
	heard, silent := since, l.over() // a new leader gives everybody a full lease
	if r != nil {
		heard, silent = r.At, l.silent()
		if n.State != cluster.NodeOnline && now.Sub(heard) < silent {
			if n.Move(cluster.NodeOnline) != nil {
				return n, time.Time{}
			}
		}
		if n.BootID != r.BootID || n.AgentStarts != r.Starts || !infoEqual(n.Info, r.Info) {
			n.BootID, n.AgentStarts, n.Info = r.BootID, r.Starts, r.Info
		}
	}
	switch quiet := now.Sub(heard); {
	case quiet >= l.over():
		if n.State == cluster.NodeOnline || n.State == cluster.NodeUnknown {
			_ = n.Move(cluster.NodeOffline) // an edge of the table from both
		}
		return n, time.Time{}
	case quiet >= silent:
		if n.State == cluster.NodeOnline {
			_ = n.Move(cluster.NodeUnknown)
		}
		return n, heard.Add(l.over())
	}
	return n, heard.Add(silent)
}

// liveness is the plan that writes node records: all of them but the cordon.
func (t *term) liveness(st *store.State, seen sight, now time.Time) (steps []step, wake time.Time) {
	visit := func(name string, old cluster.Node, known bool) {
		n, w := judge(old, seen.nodes[name], seen.since, now, t.m.cfg.Leases)
		wake = soonest(wake, w)
		if known && sameNode(old, n) {
			return
		}
		steps = append(steps, step{"node " + name, func(tx *store.Tx) (func(), error) {
			old, known := tx.Nodes().Get(name)
			if !known {
				old = cluster.Node{Name: name, Created: now}
			}
			n, _ := judge(old, seen.nodes[name], seen.since, now, t.m.cfg.Leases)
			if known && sameNode(old, n) {
				return nil, nil
			}
			n.Changed = now
			tx.Nodes().Put(n)
			return func() { logNode(old, n) }, nil
		}})
	}
	for n := range st.Nodes().All() {
		visit(n.Name, n, true)
	}
	for name, r := range seen.nodes {
		if _, known := st.Nodes().Get(name); !known && r != nil {
			visit(name, cluster.Node{Name: name, Created: now}, false)
		}
	}
	return steps, wake
}

func sameNode(a, b cluster.Node) bool {
	return a.State == b.State && a.BootID == b.BootID && a.AgentStarts == b.AgentStarts && infoEqual(a.Info, b.Info)
}

func logNode(old, n cluster.Node) {
	switch {
	case old.State != n.State:
		why := map[cluster.NodeState]string{cluster.NodeOnline: "it reports", cluster.NodeUnknown: "no report", cluster.NodeOffline: "its lease is over"}[n.State]
		slog.Info("node state", "node", n.Name, "from", old.State, "to", n.State, "reason", why, "boot", n.BootID)
	case old.BootID != n.BootID:
		slog.Info("node booted", "node", n.Name, "from", old.BootID, "to", n.BootID)
	default:
		slog.Info("node changed", "node", n.Name, "agent_starts", n.AgentStarts, "version", n.Info.Version)
	}
}
