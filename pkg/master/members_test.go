package master

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

func masterInfo(id string, voter, up bool) cluster.MasterInfo {
	i := cluster.MasterInfo{Master: cluster.Master{ID: id, Instance: "i-" + id}, Voter: voter}
	if up {
		i.State = &cluster.MasterState{}
	}
	return i
}

// roll draws up to seven masters.
func drawRoll(t *rapid.T) []cluster.MasterInfo {
	var out []cluster.MasterInfo
	for i := range rapid.IntRange(1, 7).Draw(t, "masters") {
		out = append(out, masterInfo(string(rune('a'+i)), rapid.Bool().Draw(t, "voter"), rapid.Bool().Draw(t, "up")))
	}
	return out
}

// Whatever is removed, with force or without: a quorum of those that remain answers, and without force their number is odd.
func TestRemovalKeepsQuorum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := drawRoll(t)
		var ids []string
		for _, m := range all {
			if rapid.Bool().Draw(t, "remove") {
				ids = append(ids, m.ID)
			}
		}
		force := rapid.Bool().Draw(t, "force")
		if len(ids) == 0 || removable(all, ids, force) != nil {
			return
		}
		before, after, up := 0, 0, 0
		for _, m := range all {
			if m.Voter {
				before++
				if !slices.Contains(ids, m.ID) {
					after++
					if m.State != nil {
						up++
					}
				}
			}
		}
		if before != after && (up < after/2+1 || (after%2 == 0 && !force)) {
			t.Fatalf("removing %v of %+v leaves %d voters of which %d answer (force %v)", ids, all, after, up, force)
		}
	})
}

func TestRemovable(t *testing.T) {
	three := []cluster.MasterInfo{masterInfo("a", true, true), masterInfo("b", true, true), masterInfo("c", true, false)}
	five := append(slices.Clone(three), masterInfo("d", true, true), masterInfo("e", true, true))
	for _, c := range []struct {
		what  string
		all   []cluster.MasterInfo
		ids   []string
		force bool
		code  codes.Code
		says  string
	}{
		{"unknown", three, []string{"x"}, true, codes.NotFound, "unknown"},
		{"twice", three, []string{"a", "a"}, true, codes.InvalidArgument, "twice"},
		{"even", five, []string{"e"}, false, codes.FailedPrecondition, "4 voting"},
		{"even with force", five, []string{"e"}, true, codes.OK, ""},
		{"two of five", five, []string{"d", "e"}, false, codes.OK, ""},
		{"the dead one of three", three, []string{"c"}, true, codes.OK, ""},
		{"a live one beside a dead one", three, []string{"a"}, true, codes.FailedPrecondition, "only 1 answer"},
		{"the last", three[:1], []string{"a"}, true, codes.FailedPrecondition, "last voting"},
		{"a follower", []cluster.MasterInfo{masterInfo("a", true, true), masterInfo("b", false, false)}, []string{"b"}, false, codes.OK, ""},
	} {
		err := removable(c.all, c.ids, c.force)
		if status.Code(toStatus(err)) != c.code || (err != nil && !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %v %q", c.what, err, c.code, c.says)
		}
	}
}

// Votes are given so that the number of voters is odd and at most MaxMasters, and as many as that allows.
func TestPromotable(t *testing.T) {
	for _, c := range []struct{ voters, ready, want int }{
		{1, 0, 0}, {1, 1, 0}, {1, 2, 2}, {1, 3, 2}, {1, 4, 4}, {2, 1, 1}, {2, 2, 1}, {3, 1, 0}, {3, 2, 2}, {3, 4, 2}, {4, 1, 1}, {5, 2, 0}, {2, 0, 0},
	} {
		if got := len(promotable(c.voters, make([]cluster.MasterInfo, c.ready))); got != c.want {
			t.Errorf("%d voters, %d ready: %d get a vote, want %d", c.voters, c.ready, got, c.want)
		}
	}
}

// A master is only ready after having been caught up for several looks without a gap.
func TestSteadyBeforeVote(t *testing.T) {
	steady := map[string]int{}
	ready := func(lag uint64, up bool) int {
		m := masterInfo("b", false, up)
		m.Lag = lag
		_, r := count([]cluster.MasterInfo{masterInfo("a", true, true), m}, steady)
		return len(r)
	}
	for range steadyLooks - 1 {
		if ready(maxTrail, true) != 0 {
			t.Fatal("ready too early")
		}
	}
	if ready(maxTrail+1, true) != 0 || ready(0, false) != 0 {
		t.Error("ready though it is behind, or silent")
	}
	for range steadyLooks - 1 {
		ready(0, true)
	}
	if ready(0, true) != 1 {
		t.Error("not ready after being caught up for long enough")
	}
}

type masterTable map[string]cluster.Master

func (t masterTable) Get(id string) (cluster.Master, bool) { m, ok := t[id]; return m, ok }

type counterTable map[string]bool

func (t counterTable) Get(id string) (store.Counter, bool) { return store.Counter{Name: id}, t[id] }

// A directory that is a copy, older, lost, removed or of another cluster is refused; the member's own one and a new member's are not.
func TestRefusal(t *testing.T) {
	known := tables{store.Meta{ClusterID: "c1"},
		masterTable{"m1": {ID: "m1", Instance: "i1", Starts: 5, Nonce: "n5"}, "new": {ID: "new"}}, counterTable{removedCounter("gone"): true}}
	own := cluster.Presence{ID: "m1", ClusterID: "c1", Instance: "i1", Starts: 6, Nonce: "n6", LastIndex: 100}
	for _, c := range []struct {
		what string
		edit func(p *cluster.Presence)
		says string // empty: admitted
	}{
		{"its next start", func(*cluster.Presence) {}, ""},
		{"the same start again", func(p *cluster.Presence) { p.Starts, p.Nonce = 5, "n5" }, ""},
		{"the same start by another process", func(p *cluster.Presence) { p.Starts = 5 }, "copy or an older state"},
		{"fewer starts", func(p *cluster.Presence) { p.Starts = 3 }, "copy or an older state"},
		{"a log that ends before what it had applied", func(p *cluster.Presence) { p.LastIndex = 89 }, "older state"},
		{"lost its data", func(p *cluster.Presence) { p.Instance, p.ClusterID, p.Starts, p.Empty = "i2", "", 1, true }, "master remove m1"},
		{"another directory", func(p *cluster.Presence) { p.Instance = "i2" }, "another data directory"},
		{"of another cluster", func(p *cluster.Presence) { p.ClusterID = "c0" }, "another cluster"},
		{"removed", func(p *cluster.Presence) { p.ID, p.Instance = "m9", "gone" }, "removed"},
		{"a new one", func(p *cluster.Presence) {
			*p = cluster.Presence{ID: "m9", Instance: "i9", Starts: 1, Nonce: "x", Empty: true}
		}, ""},
		{"one that an operator has announced", func(p *cluster.Presence) {
			*p = cluster.Presence{ID: "new", Instance: "i9", Starts: 1, Nonce: "x", Empty: true}
		}, ""},
	} {
		p := own
		c.edit(&p)
		got := refusal(p, known, 90)
		if (got == "") != (c.says == "") || !strings.Contains(got, c.says) {
			t.Errorf("%s: %q, want %q", c.what, got, c.says)
		}
	}
	p := own
	p.ClusterID = "c0"
	if got := refusal(p, tables{store.Meta{}, masterTable{}, counterTable{}}, 0); got != "" {
		t.Errorf("who belongs to no cluster refuses: %s", got)
	}
}

// Where others keep the log any number of masters will do, but the last one stays.
func TestRemoveWithoutMembers(t *testing.T) {
	inWorld(t, 3, nil, func(w *world) {
		lead := w.log.Leader()
		c, done := w.client(lead)
		defer done()
		id := func(i int) string { return w.masters[i%3].cfg.ID }
		if _, err := c.RemoveMaster(w.ctx, &vzpb.RemoveMasterRequest{OpKey: "r1", Ids: []string{"x"}}); status.Code(err) != codes.NotFound {
			t.Errorf("an unknown one: %v, want NOT_FOUND", err)
		}
		if _, err := c.RemoveMaster(w.ctx, &vzpb.RemoveMasterRequest{OpKey: "r2", Ids: []string{id(0), id(1), id(2)}}); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("all of them: %v, want FAILED_PRECONDITION", err)
		}
	})
}
