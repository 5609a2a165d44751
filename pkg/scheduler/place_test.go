package scheduler

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

const mib = 1 << 20

func res(cpu, memMiB, diskMiB uint64) cluster.Resources {
	return cluster.Resources{CPUMilli: cpu, MemoryBytes: memMiB * mib, DiskBytes: diskMiB * mib}
}

func online(name string, capacity, used cluster.Resources) Node {
	return Node{Name: name, State: cluster.NodeOnline, Capacity: capacity, Used: used}
}

func TestPlace(t *testing.T) {
	full := res(2000, 1000, 1000)
	for _, tc := range []struct {
		name  string
		nodes []Node
		r     Request
		want  string
		says  []string
	}{
		{"most room left", []Node{online("n1", full, res(0, 500, 0)), online("n2", full, res(0, 400, 0))}, Request{Need: res(100, 100, 100)}, "n2", nil},
		{"scarcest resource counts", []Node{online("n1", full, res(0, 0, 800)), online("n2", full, res(0, 500, 500))}, Request{Need: res(1, 1, 1)}, "n2", nil},
		{"ties by name", []Node{online("n1", full, res(0, 0, 0)), online("n2", full, res(0, 0, 0))}, Request{Need: res(1, 1, 1)}, "n1", nil},
		{"cpu may be overcommitted", []Node{online("n1", full, res(7000, 0, 0))}, Request{Need: res(1000, 1, 1)}, "n1", nil},
		{"but not without end", []Node{online("n1", full, res(7001, 0, 0))}, Request{Need: res(1000, 1, 1)}, "", []string{"1 node: cpu", "0.001 CPUs short"}},
		{"memory may not", []Node{online("n1", full, res(0, 1000, 0))}, Request{Need: res(1, 40, 1)}, "", []string{"1 node: memory", "best rejected: n1, 40 MiB memory short"}},
		{"counts and the best", []Node{
			online("n1", full, res(0, 990, 0)), online("n3", full, res(0, 940, 0)),
			{Name: "n2", State: cluster.NodeOnline, Cordoned: true, Capacity: full}, {Name: "n4", State: cluster.NodeOffline, Capacity: full},
		}, Request{Need: res(1, 100, 1)}, "", []string{"2 nodes: memory", "1 node: cordoned", "1 node: offline", "best rejected: n3, 40 MiB memory short"}},
		{"refused by the caller", []Node{online("n1", full, res(0, 0, 0))}, Request{Need: res(1, 1, 1), Refuse: map[string]string{"n1": "is the source"}}, "", []string{"1 node: is the source"}},
		{"unknown is not online", []Node{{Name: "n1", State: cluster.NodeUnknown, Capacity: full}}, Request{}, "", []string{"1 node: unknown"}},
		{"no nodes", nil, Request{}, "", []string{"no nodes"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, _, err := Place(Snapshot{Nodes: tc.nodes}, tc.r)
			if got != tc.want || (err == nil) != (tc.want != "") {
				t.Fatalf("got %q, %v; want %q", got, err, tc.want)
			}
			for _, s := range tc.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
		})
	}
}

func TestCheck(t *testing.T) {
	s := Snapshot{Nodes: []Node{online("n1", res(1000, 100, 100), res(0, 50, 0)), {Name: "n2", State: cluster.NodeOffline}}}
	if err := Check(s, Request{Need: res(1, 50, 1)}, "n1"); err != nil {
		t.Errorf("it fits exactly: %v", err)
	}
	for node, says := range map[string]string{"n1": "1 MiB memory short", "n2": "offline", "n9": "unknown"} {
		err := Check(s, Request{Need: res(1, 51, 1)}, node)
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), node) {
			t.Errorf("%s: %v, want %q", node, err, says)
		}
	}
}

// An open migration reserves on the side that does not own the container, a closed one nowhere.
func TestReservations(t *testing.T) {
	nodes := []cluster.Node{{Name: "b", State: cluster.NodeOnline}, {Name: "a", State: cluster.NodeOnline}}
	need := res(10, 10, 10)
	for _, tc := range []struct {
		name   string
		owner  string
		closed bool
		a, b   cluster.Resources
	}{
		{"before the commit", "a", false, need, need},
		{"after it", "b", false, need, need},
		{"closed after commit", "b", true, cluster.Resources{}, need},
		{"closed after abort", "a", true, need, cluster.Resources{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := NewSnapshot(nodes, []cluster.Container{{CTID: "101", Node: tc.owner, Spec: cluster.Spec{Resources: need}}},
				[]cluster.Migration{{CTID: "101", Source: "a", Target: "b", Reserved: need, Closed: tc.closed}}, 1)
			if s.Nodes[0].Name != "a" || s.Nodes[0].Used != tc.a || s.Nodes[1].Used != tc.b {
				t.Fatalf("got %+v", s.Nodes)
			}
		})
	}
}

var anyRes = rapid.Custom(func(t *rapid.T) cluster.Resources {
	amount := rapid.OneOf(rapid.Uint64Range(0, 8), rapid.Uint64(), rapid.Just(uint64(math.MaxUint64)))
	return cluster.Resources{CPUMilli: amount.Draw(t, "cpu"), MemoryBytes: amount.Draw(t, "mem"), DiskBytes: amount.Draw(t, "disk")}
})

var anySnapshot = rapid.Custom(func(t *rapid.T) Snapshot {
	var nodes []cluster.Node
	var cts []cluster.Container
	var migs []cluster.Migration
	states := []cluster.NodeState{"", cluster.NodeOnline, cluster.NodeOnline, cluster.NodeUnknown, cluster.NodeOffline}
	n := rapid.IntRange(0, 6).Draw(t, "nodes")
	for i := range n {
		nodes = append(nodes, cluster.Node{Name: fmt.Sprint("n", i), State: rapid.SampledFrom(states).Draw(t, "state"),
			Cordoned: rapid.Bool().Draw(t, "cordoned"), Info: cluster.NodeInfo{Capacity: anyRes.Draw(t, "capacity")}})
	}
	name := rapid.Map(rapid.IntRange(0, 6), func(i int) string { return fmt.Sprint("n", i) })
	for i := range rapid.IntRange(0, 6).Draw(t, "containers") {
		cts = append(cts, cluster.Container{CTID: fmt.Sprint(i), Node: name.Draw(t, "on"), Spec: cluster.Spec{Resources: anyRes.Draw(t, "spec")}})
		if rapid.Bool().Draw(t, "migrating") {
			migs = append(migs, cluster.Migration{CTID: fmt.Sprint(i), Source: cts[i].Node, Target: name.Draw(t, "to"), Reserved: cts[i].Spec.Resources})
		}
	}
	return NewSnapshot(nodes, cts, migs, float64(rapid.IntRange(1, 4).Draw(t, "overcommit")))
})

// Never over capacity, never on a node that is not online, cordoned or refused, whatever the records say; and Place agrees with Check.
func TestPlaceIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySnapshot.Draw(t, "snapshot")
		r := Request{Need: anyRes.Draw(t, "need"), Refuse: map[string]string{"n1": "source"}}
		got, ex, err := Place(s, r)
		var refused *RefusedError
		if err != nil && !errors.As(err, &refused) {
			t.Fatalf("another kind of error: %v", err)
		}
		best := -1.0
		for _, n := range s.Nodes {
			ok := Check(s, r, n.Name) == nil
			if ok {
				best = max(best, s.score(n, r))
			}
			if ok && err != nil {
				t.Fatalf("%s would do, but Place said %v", n.Name, err)
			}
			if n.Name != got {
				continue
			}
			after, limit := add(n.Used, r.Need), s.limit(n)
			if n.State != cluster.NodeOnline || n.Cordoned || n.Name == "n1" || !ok {
				t.Fatalf("placed on %+v", n)
			}
			if after.MemoryBytes > n.Capacity.MemoryBytes || after.DiskBytes > n.Capacity.DiskBytes || after.CPUMilli > limit.CPUMilli {
				t.Fatalf("over capacity: %+v takes %+v", n, r.Need)
			}
		}
		if err == nil && ex.Score != best {
			t.Fatalf("chose %s with score %v, the best is %v", got, ex.Score, best)
		}
		if err != nil && (err.Error() == "" || ex.Chosen != "") {
			t.Fatalf("unexplained: %+v", ex)
		}
	})
}

// Placing one after the other fills the nodes and then stops; nothing is ever promised twice.
func TestFillUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		need := res(1, rapid.Uint64Range(1, 50).Draw(t, "need"), 1)
		nodes := []cluster.Node{{Name: "a", State: cluster.NodeOnline, Info: cluster.NodeInfo{Capacity: res(1000, 200, 1000)}},
			{Name: "b", State: cluster.NodeOnline, Info: cluster.NodeInfo{Capacity: res(1000, 100, 1000)}}}
		var cts []cluster.Container
		for {
			node, _, err := Place(NewSnapshot(nodes, cts, nil, 1), Request{Need: need})
			if err != nil {
				break
			}
			cts = append(cts, cluster.Container{CTID: fmt.Sprint(len(cts)), Node: node, Spec: cluster.Spec{Resources: need}})
		}
		want := int(200*mib/need.MemoryBytes + 100*mib/need.MemoryBytes)
		if len(cts) != want {
			t.Fatalf("%d containers of %d bytes, want %d", len(cts), need.MemoryBytes, want)
		}
	})
}
