package scheduler

import (
	"slices"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// Request is what has to be placed.
type Request struct {
	Need cluster.Resources
	// Refuse names nodes that are out for a reason that only the caller knows (the source of a migration, an incompatible CPU),
	// with that reason in one to four words.
	Refuse map[string]string
}

// Place chooses a node for r. If none passes the error is a [*RefusedError]. The explanation is complete in both cases.
func Place(s Snapshot, r Request) (node string, ex Explanation, err error) {
	best := 0.0
	for _, n := range s.Nodes {
		v := s.check(n, r)
		ex.add(v)
		if !v.fits() {
			continue
		}
		if sc := s.score(n, r); node == "" || sc > best {
			node, best = n.Name, sc
		}
	}
	ex.Chosen, ex.Score = node, best
	if node == "" {
		return "", ex, &RefusedError{Explanation: ex}
	}
	return node, ex, nil
}

// Check tells whether r can go to one certain node: nil, or a [*RefusedError] that says why not.
func Check(s Snapshot, r Request, node string) error {
	i := slices.IndexFunc(s.Nodes, func(n Node) bool { return n.Name == node })
	var ex Explanation
	if i >= 0 {
		v := s.check(s.Nodes[i], r)
		if v.fits() {
			return nil
		}
		ex.add(v)
	}
	return &RefusedError{Node: node, Explanation: ex}
}

// verdict is what the filters say of one node.
type verdict struct {
	node  string
	why   string            // the first filter that refused; empty: it fits
	short cluster.Resources // what is lacking, if only room is lacking
	limit cluster.Resources
}

func (v verdict) fits() bool { return v.why == "" }

// check runs the filters: hard ones first, so that the reason given is the one that would remain if there were room.
func (s Snapshot) check(n Node, r Request) verdict {
	v := verdict{node: n.Name, limit: s.limit(n)}
	switch {
	case n.State != cluster.NodeOnline:
		v.why = string(n.State)
		if n.State == "" {
			v.why = "never seen"
		}
		return v
	case n.Cordoned:
		v.why = "cordoned"
		return v
	case r.Refuse[n.Name] != "":
		v.why = r.Refuse[n.Name]
		return v
	}
	v.short = r.Need.Sub(v.limit.Sub(n.Used))
	for _, l := range lacks(v.short) {
		v.why = l.what // the last one wins: disk and memory weigh more than CPU
	}
	return v
}

// score is the formula of the package comment. Only for nodes that fit.
func (s Snapshot) score(n Node, r Request) float64 {
	limit := s.limit(n)
	rest := limit.Sub(n.Used).Sub(r.Need)
	share := func(rest, limit uint64) float64 {
		if limit == 0 {
			return 0
		}
		return float64(rest) / float64(limit)
	}
	return min(share(rest.CPUMilli, limit.CPUMilli), share(rest.MemoryBytes, limit.MemoryBytes), share(rest.DiskBytes, limit.DiskBytes))
}
