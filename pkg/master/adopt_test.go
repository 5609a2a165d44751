package master

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

const adoptFinish = time.Minute

var adoptNow = time.Unix(1000, 0)

// reporting makes what one node has reported.
func reporting(boot string, copies ...copyReport) *report {
	return (&report{At: adoptNow, BootID: boot, Copies: copies, Migrations: map[string]sideReport{}}).index()
}

func held(state cluster.CopyState, epoch cluster.Epoch) copyReport {
	return copyReport{CopyInfo: cluster.CopyInfo{CTID: "101", Epoch: epoch, State: state}, RunGen: 9, SpecGen: 2}
}

func restored() cluster.Container {
	return cluster.Container{CTID: "101", Node: "n1", Epoch: 1_000_004, RunGen: 3, SpecGen: 2, Want: cluster.WantRunning, State: cluster.ContainerRunning,
		BootID: "b1", Spec: cluster.Spec{OnBoot: true}, Adopt: true}
}

var adoptNodes = []cluster.Node{{Name: "n1"}, {Name: "n2"}}

func TestAdopt(t *testing.T) {
	for _, c := range []struct {
		what   string
		n1, n2 *report
		adopt  bool // still to adopt
		node   string
		state  cluster.ContainerState
		want   cluster.RunState
		runGen uint64
		says   string
	}{
		{"runs where the record says", reporting("b1", held(cluster.CopyRunning, 4)), nil, false, "n1", cluster.ContainerRunning, cluster.WantRunning, 9, ""},
		{"moved since", nil, reporting("b2", held(cluster.CopyRunning, 5)), false, "n2", cluster.ContainerRunning, cluster.WantRunning, 9, ""},
		{"runs beside a retired copy", reporting("b1", held(cluster.CopyRetired, 4)), reporting("b2", held(cluster.CopyRunning, 5)), false, "n2", cluster.ContainerRunning, cluster.WantRunning, 9, ""},
		{"runs twice", reporting("b1", held(cluster.CopyRunning, 4)), reporting("b2", held(cluster.CopyRunning, 5)), true, "n1", cluster.ContainerRunning, cluster.WantRunning, 3, "n1 and on n2"},
		{"stopped here, and n2 is silent", reporting("b1", held(cluster.CopyStopped, 4)), nil, true, "n1", cluster.ContainerRunning, cluster.WantRunning, 3, "n2"},
		{"stopped since", reporting("b1", held(cluster.CopyStopped, 4)), reporting("b2"), false, "n1", cluster.ContainerStopped, cluster.WantStopped, 9, ""},
		{"its host booted", reporting("b9", held(cluster.CopyStopped, 4)), reporting("b2"), false, "n1", cluster.ContainerStopped, cluster.WantRunning, 10, "booted"},
		{"nobody has it", reporting("b1"), reporting("b2"), false, "n1", cluster.ContainerStopped, cluster.WantStopped, 3, "no node"},
		{"frozen, and nobody knows why", reporting("b1", held(cluster.CopyFrozen, 4)), reporting("b2"), true, "n1", cluster.ContainerRunning, cluster.WantRunning, 3, "frozen"},
	} {
		a := adopt(restored(), nil, adoptNodes, sight{since: adoptNow, nodes: map[string]*report{"n1": c.n1, "n2": c.n2}}, adoptNow, adoptFinish)
		got := a.c
		if got.Adopt != c.adopt || got.Node != c.node || got.State != c.state || got.Want != c.want || got.RunGen != c.runGen || !strings.Contains(got.Reason, c.says) {
			t.Errorf("%s: %+v", c.what, got)
		}
	}
}

// A migration of which the records know nothing, or too little, ends as the facts say.
func TestAdoptInMigration(t *testing.T) {
	side := func(r *report, role string) *report {
		r.Migrations["7"] = sideReport{Role: role, CTID: "101", Epoch: 4}
		return r
	}
	open := &cluster.Migration{ID: "7", CTID: "101", Source: "n1", Target: "n2", Epoch: 4, Phase: cluster.PhaseCopy}
	for _, c := range []struct {
		what    string
		m       *cluster.Migration
		n1, n2  *report
		node    string
		phase   cluster.Phase
		closed  bool
		adopted bool
	}{
		{"released at the target", nil, side(reporting("b1", held(cluster.CopyFrozen, 4)), roleSource), side(reporting("b2", held(cluster.CopyRunning, 5)), roleTarget), "n2", cluster.PhaseCommitted, false, true},
		{"known, and released at the target", open, side(reporting("b1", held(cluster.CopyFrozen, 4)), roleSource), side(reporting("b2", held(cluster.CopyRunning, 5)), roleTarget), "n2", cluster.PhaseCommitted, false, true},
		{"held at the target", nil, side(reporting("b1", held(cluster.CopyFrozen, 4)), roleSource), side(reporting("b2", held(cluster.CopyStaged, 4)), roleTarget), "n1", cluster.PhaseAborting, false, true},
		{"held, and the target is silent", open, side(reporting("b1", held(cluster.CopyFrozen, 4)), roleSource), nil, "n1", "", false, false},
		{"still copying", open, side(reporting("b1", held(cluster.CopyRunning, 4)), roleSource), nil, "n1", cluster.PhaseAborting, false, true},
		{"over long ago, at the target", open, reporting("b1"), reporting("b2", held(cluster.CopyRunning, 5)), "n2", cluster.PhaseDone, true, true},
	} {
		rec := restored()
		a := adopt(rec, c.m, adoptNodes, sight{since: adoptNow, nodes: map[string]*report{"n1": c.n1, "n2": c.n2}}, adoptNow, adoptFinish)
		phase, closed := cluster.Phase(""), false
		if a.m != nil {
			phase, closed = a.m.Phase, a.m.Closed
		}
		if a.c.Adopt == c.adopted || a.c.Node != c.node || phase != c.phase || closed != c.closed || (!closed && a.m != nil) != (a.c.Migration == "7") {
			t.Errorf("%s: %+v, migration %+v", c.what, a.c, a.m)
		}
	}
}

// Whatever the nodes report: a container that runs anywhere is never given to another node, and one is only taken for stopped when every
// node was heard. Its epoch and its orders never go back.
func TestAdoptNeverStartsTwice(t *testing.T) {
	states := []cluster.CopyState{cluster.CopyRunning, cluster.CopyStopped, cluster.CopyFrozen, cluster.CopyStaged, cluster.CopyRetired, cluster.CopyCreating}
	rapid.Check(t, func(t *rapid.T) {
		seen := sight{since: adoptNow, nodes: map[string]*report{}}
		runs, silent := map[string]bool{}, false
		for _, n := range adoptNodes {
			if rapid.Bool().Draw(t, "silent") {
				silent = true
				continue
			}
			var copies []copyReport
			if rapid.Bool().Draw(t, "has") {
				s := rapid.SampledFrom(states).Draw(t, "state")
				copies = append(copies, held(s, cluster.Epoch(rapid.IntRange(1, 9).Draw(t, "epoch"))))
				runs[n.Name] = s == cluster.CopyRunning
			}
			r := reporting(rapid.SampledFrom([]string{"b1", "b2"}).Draw(t, "boot"), copies...)
			if rapid.Bool().Draw(t, "migrates") {
				r.Migrations["7"] = sideReport{Role: rapid.SampledFrom([]string{roleSource, roleTarget}).Draw(t, "role"), CTID: "101", Epoch: 4}
			}
			seen.nodes[n.Name] = r
		}
		was := restored()
		a := adopt(was, nil, adoptNodes, seen, adoptNow, adoptFinish)
		if a.c.Epoch < was.Epoch || a.c.RunGen < was.RunGen {
			t.Fatalf("went back: %+v", a.c)
		}
		if a.c.Adopt {
			return
		}
		somewhere := false
		for n, r := range runs {
			if r && n != a.c.Node {
				t.Fatalf("runs on %s, given to %s", n, a.c.Node)
			}
			somewhere = somewhere || r
		}
		if !somewhere && silent {
			t.Fatalf("given to %s though a node that may run it was not heard", a.c.Node)
		}
	})
}
