package migrate

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// sight is a migration in some phase with both sides well: tests spoil one thing.
type sight struct {
	m    cluster.Migration
	a, b Seen
	now  time.Time
}

func at(p cluster.Phase) *sight {
	up := Seen{State: cluster.NodeOnline, BootID: "b", Report: t0, Attempt: true}
	return &sight{
		m: cluster.Migration{ID: "7", CTID: "101", Source: "n1", Target: "n2", Epoch: 4, Phase: p, SourceBoot: "b", TargetBoot: "b",
			Deadline: t0.Add(time.Minute), Created: t0, Changed: t0},
		a: up, b: up, now: t0.Add(time.Second),
	}
}

// voted gives both votes, about the same content, with the target repeating its own.
func (s *sight) voted() *sight {
	s.m.From.Step, s.m.From.Digest = cluster.SourceShipped, "d1"
	s.m.To.Step, s.m.To.Digest = cluster.TargetHeld, "d1"
	s.b.Step, s.b.Digest = string(cluster.TargetHeld), "d1"
	return s
}

func (s *sight) with(f func(*sight)) *sight { f(s); return s }

func TestNext(t *testing.T) {
	const none, closes, alarm = cluster.Phase(""), cluster.Phase("close"), cluster.Phase("alarm")
	aborting := func() *sight { return at(cluster.PhaseAborting) }
	for _, tc := range []struct {
		name string
		s    *sight
		want cluster.Phase
		says string
	}{
		{"pending starts", at(cluster.PhasePending), cluster.PhasePrepare, ""},
		{"pending, target offline", at(cluster.PhasePending).with(func(s *sight) { s.b.State = cluster.NodeOffline }), cluster.PhaseAborting, "target n2 is offline"},
		{"prepare waits for both", at(cluster.PhasePrepare).with(func(s *sight) { s.m.From.Step = cluster.SourcePrepared }), none, ""},
		{"both prepared", at(cluster.PhasePrepare).with(func(s *sight) { s.m.From.Step, s.m.To.Step = cluster.SourcePrepared, cluster.TargetPrepared }), cluster.PhaseCopy, ""},
		{"preflight refuses", at(cluster.PhasePrepare).with(func(s *sight) { s.m.From.Error = "fuse mount" }), cluster.PhaseAborting, "source n1: fuse mount"},
		{"prepare too long", at(cluster.PhasePrepare).with(func(s *sight) { s.now = s.m.Deadline }), cluster.PhaseAborting, "longer than its deadline"},
		{"unknown is not offline", at(cluster.PhaseCopy).with(func(s *sight) { s.b.State, s.a.State = cluster.NodeUnknown, cluster.NodeUnknown }), none, ""},
		{"copied", at(cluster.PhaseCopy).with(func(s *sight) { s.m.From.Step = cluster.SourceCopied }), cluster.PhaseSwitch, ""},
		{"source booted while copying", at(cluster.PhaseCopy).with(func(s *sight) { s.a.BootID = "c" }), cluster.PhaseAborting, "n1 booted"},
		{"votes during copy are worth nothing", at(cluster.PhaseCopy).voted().with(func(s *sight) { s.m.From.Step = cluster.SourceCopied }), cluster.PhaseSwitch, ""},
		{"both votes", at(cluster.PhaseSwitch).voted(), cluster.PhaseCommitted, ""},
		{"both votes after the deadline", at(cluster.PhaseSwitch).voted().with(func(s *sight) { s.now = s.m.Deadline }), cluster.PhaseCommitted, ""},
		{"source died after its vote", at(cluster.PhaseSwitch).voted().with(func(s *sight) { s.a = Seen{State: cluster.NodeOffline} }), cluster.PhaseCommitted, ""},
		{"only the source's vote", at(cluster.PhaseSwitch).voted().with(func(s *sight) { s.m.To.Step = cluster.TargetPrepared }), none, ""},
		{"only the target's vote", at(cluster.PhaseSwitch).voted().with(func(s *sight) { s.m.From.Step = cluster.SourceCopied }), none, ""},
		{"votes about different content", at(cluster.PhaseSwitch).voted().with(func(s *sight) { s.m.To.Digest = "d2" }), cluster.PhaseAborting, "different content"},
		{"votes about nothing", at(cluster.PhaseSwitch).voted().with(func(s *sight) { s.m.To.Digest, s.m.From.Digest = "", "" }), cluster.PhaseAborting, "different content"},
		{"target's vote not repeated", at(cluster.PhaseSwitch).voted().with(func(s *sight) { s.b.Step = string(cluster.TargetPrepared) }), none, ""},
		{"target's session lost", at(cluster.PhaseSwitch).voted().with(func(s *sight) { s.b.Attempt = false }), none, ""},
		{"target silent", at(cluster.PhaseSwitch).voted().with(func(s *sight) { s.b.State = cluster.NodeUnknown }), none, ""},
		{"target booted after its vote", at(cluster.PhaseSwitch).voted().with(func(s *sight) { s.b.BootID = "c" }), cluster.PhaseAborting, "n2 booted"},
		{"target failed after its vote", at(cluster.PhaseSwitch).voted().with(func(s *sight) { s.m.To.Error = "criu died" }), cluster.PhaseAborting, "criu died"},
		{"switch too long", at(cluster.PhaseSwitch).with(func(s *sight) { s.now = s.m.Deadline }), cluster.PhaseAborting, "deadline"},
		{"source thawed by itself", at(cluster.PhaseSwitch).voted().with(func(s *sight) { s.m.From.Step = cluster.SourceThawed }), cluster.PhaseAborting, "before any verdict"},

		{"committed waits", at(cluster.PhaseCommitted), none, ""},
		{"running", at(cluster.PhaseCommitted).with(func(s *sight) { s.m.To.Step = cluster.TargetRunning }), cluster.PhaseDone, ""},
		{"ended right after its release", at(cluster.PhaseCommitted).with(func(s *sight) {
			s.b.Copies = []cluster.CopyInfo{{CTID: "101", Epoch: 5, State: cluster.CopyStopped}}
		}), cluster.PhaseDone, ""},
		{"an old copy at the target is not the container", at(cluster.PhaseCommitted).with(func(s *sight) {
			s.b.Copies = []cluster.CopyInfo{{CTID: "101", Epoch: 3, State: cluster.CopyStopped}, {CTID: "101", Epoch: 5, State: cluster.CopyStaged}}
		}), none, ""},
		{"target lost after the commit: alarm, no way back", at(cluster.PhaseCommitted).with(func(s *sight) {
			s.now, s.b = s.m.Deadline, Seen{State: cluster.NodeOffline}
		}), alarm, "keeps its frozen copy"},

		{"done waits for the source", at(cluster.PhaseDone), none, ""},
		{"source destroyed its copy", at(cluster.PhaseDone).with(func(s *sight) { s.m.From.Step = cluster.SourceDestroyed }), closes, ""},
		{"source offline", at(cluster.PhaseDone).with(func(s *sight) { s.a.State = cluster.NodeOffline }), closes, ""},
		{"source knows nothing any more", at(cluster.PhaseDone).with(func(s *sight) { s.a.Attempt, s.a.Report = false, t0.Add(Quiet) }), closes, ""},
		{"but still has the copy", at(cluster.PhaseDone).with(func(s *sight) {
			s.a.Attempt, s.a.Report, s.a.Copies = false, t0.Add(Quiet), []cluster.CopyInfo{{Epoch: 4, State: cluster.CopyRetired}}
		}), none, ""},

		{"aborting waits for both", aborting().with(func(s *sight) { s.m.From.Step = cluster.SourceThawed }), none, ""},
		{"thawed and discarded", aborting().with(func(s *sight) { s.m.From.Step, s.m.To.Step = cluster.SourceThawed, cluster.TargetDiscarded }), cluster.PhaseFailed, ""},
		{"thawed, target offline", aborting().with(func(s *sight) { s.m.From.Step, s.b.State = cluster.SourceThawed, cluster.NodeOffline }), cluster.PhaseFailed, ""},
		{"nobody ever heard of it", aborting().with(func(s *sight) {
			s.a.Attempt, s.b.Attempt, s.a.Report, s.b.Report = false, false, t0.Add(Quiet), t0.Add(Quiet)
		}), cluster.PhaseFailed, ""},
		{"neither could even begin", aborting().with(func(s *sight) {
			s.a.Error, s.b.Error, s.a.Report, s.b.Report = "no journal", "no journal", t0.Add(10*Quiet), t0.Add(10*Quiet)
		}), cluster.PhaseFailed, ""},
		{"could not begin, but is frozen", aborting().with(func(s *sight) {
			s.a.Report, s.b.Report = t0.Add(10*Quiet), t0.Add(10*Quiet)
			s.a.Error, s.b.Error, s.a.Copies = "no journal", "no journal", []cluster.CopyInfo{{Epoch: 4, State: cluster.CopyFrozen}}
		}), none, ""},
		{"too early to tell", aborting().with(func(s *sight) { s.a.Attempt, s.b.Attempt = false, false }), none, ""},
		{"frozen, so it has heard", aborting().with(func(s *sight) {
			s.a.Attempt, s.b.Attempt, s.a.Report, s.b.Report = false, false, t0.Add(Quiet), t0.Add(Quiet)
			s.a.Copies = []cluster.CopyInfo{{Epoch: 4, State: cluster.CopyFrozen}}
		}), none, ""},
		{"stays aborted whatever the votes", aborting().voted(), none, ""},
		{"failed and closed is the end", at(cluster.PhaseFailed).with(func(s *sight) { s.m.Closed = true }), none, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ch, wake := Next(tc.s.m, tc.s.a, tc.s.b, tc.s.now, DefaultTimeouts)
			got := none
			switch {
			case ch == nil:
			case ch.To != "":
				got = ch.To
			case ch.Close:
				got = closes
			case ch.Alarm:
				got = alarm
			}
			if got != tc.want {
				t.Fatalf("got %q (%+v), want %q", got, ch, tc.want)
			}
			if ch != nil && !strings.Contains(ch.Reason, tc.says) {
				t.Errorf("reason %q does not say %q", ch.Reason, tc.says)
			}
			if ch == nil && !tc.s.m.Closed && !wake.After(tc.s.now) {
				// Votes that wait for a vanished session are looked at again at the deadline like everything else.
				t.Errorf("nothing to do, and no time to look again: %v", wake)
			}
		})
	}
}

// world is a container, one migration of it, and two agents that report anything at all, in any order, however late.
type world struct {
	m    cluster.Migration
	c    cluster.Container
	a, b Seen
	now  time.Time
	mad  bool // the agents report what no agent would, and hosts boot and die
}

func (w *world) chaos(t *rapid.T) {
	states := []cluster.NodeState{cluster.NodeOnline, cluster.NodeOnline, cluster.NodeOnline, cluster.NodeUnknown, cluster.NodeOffline}
	digests := rapid.SampledFrom([]string{"", "d1", "d1", "d1", "d2"})
	boots := []string{"b", "b", "b", "b", "c"}
	side := func(s *Seen, steps []string) {
		s.State = rapid.SampledFrom(states).Draw(t, "state")
		s.BootID = rapid.SampledFrom(boots).Draw(t, "boot")
		s.Report = w.now
		s.Attempt = rapid.Bool().Draw(t, "attempt")
		s.Step, s.Digest = rapid.SampledFrom(steps).Draw(t, "step"), digests.Draw(t, "digest")
		s.Copies = nil
		if rapid.Bool().Draw(t, "copy") {
			s.Copies = []cluster.CopyInfo{{Epoch: cluster.Epoch(rapid.IntRange(3, 6).Draw(t, "epoch")), State: rapid.SampledFrom([]cluster.CopyState{
				cluster.CopyRunning, cluster.CopyFrozen, cluster.CopyStaged, cluster.CopyRetired}).Draw(t, "copystate")}}
		}
	}
	source, target := []string{"", "prepared", "copied", "shipped"}, []string{"", "prepared", "held", "held"}
	if w.mad {
		source, target = append(source, "thawed", "destroyed"), append(target, "running", "discarded")
	} else {
		states, digests, boots = states[:4], rapid.Just("d1"), boots[:1]
	}
	side(&w.a, source)
	side(&w.b, target)
	if w.m.ForwardSource(cluster.SourceStep(w.a.Step)) {
		w.m.From.Digest = w.a.Digest
	}
	if w.m.ForwardTarget(cluster.TargetStep(w.b.Step)) {
		w.m.To.Digest = w.b.Digest
	}
	if w.mad && rapid.IntRange(0, 15).Draw(t, "fail") == 0 {
		w.m.From.Error = "boom"
	}
}

// Whatever the agents say: a commit needs both votes about the same content, commit and abort exclude each other, nothing leads back
// from a decision, the epoch goes up exactly once, and the owner is the source until a commit and the target after it.
func TestPlanIsSafe(t *testing.T) {
	commits := 0
	rapid.Check(t, func(t *rapid.T) {
		w := &world{now: t0, mad: rapid.Bool().Draw(t, "mad"), m: at(cluster.PhasePending).m, c: cluster.Container{CTID: "101", Node: "n1", Epoch: 4, Migration: "7"}}
		if rapid.Bool().Draw(t, "late start") { // most random walks would never get as far
			w.m.Phase, w.m.From.Step, w.m.To.Step = cluster.PhaseSwitch, cluster.SourceCopied, cluster.TargetPrepared
		}
		path := []cluster.Phase{w.m.Phase}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			w.now = w.now.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "seconds")) * time.Second)
			w.chaos(t)
			before, was := w.m, w.c
			ch, _ := Next(w.m, w.a, w.b, w.now, DefaultTimeouts)
			if ch == nil {
				continue
			}
			if err := Apply(&w.m, &w.c, *ch, w.now); err != nil {
				t.Fatalf("Next planned what Apply refuses: %+v: %v", ch, err)
			}
			if ch.To == "" {
				if w.c.Node != was.Node || w.c.Epoch != was.Epoch {
					t.Fatalf("ownership changed without an edge: %+v", ch)
				}
				continue
			}
			path = append(path, ch.To)
			switch {
			case ch.To == cluster.PhaseCommitted:
				commits++
				if before.From.Step != cluster.SourceShipped || before.To.Step != cluster.TargetHeld || before.From.Digest == "" ||
					before.From.Digest != before.To.Digest || w.b.Step != "held" || !w.b.Attempt || w.b.BootID != "b" {
					t.Fatalf("committed on %+v, target %+v", before, w.b)
				}
				if w.c.Node != "n2" || w.c.Epoch != 5 {
					t.Fatalf("committed to %+v", w.c)
				}
			case ch.To == cluster.PhaseAborting:
				if w.c.Node != "n1" || w.c.Epoch != 5 || ch.Reason == "" {
					t.Fatalf("aborted to %+v, reason %q", w.c, ch.Reason)
				}
			case w.c.Node != was.Node || w.c.Epoch != was.Epoch:
				t.Fatalf("%s changed the owner", ch.To)
			}
		}
		if slices.Contains(path, cluster.PhaseCommitted) && slices.Contains(path, cluster.PhaseAborting) {
			t.Fatalf("both verdicts: %v", path)
		}
		if w.m.Closed && w.c.Migration != "" {
			t.Fatal("closed, but the container is still locked")
		}
	})
	if commits == 0 {
		t.Fatal("no walk ever committed: the test tests nothing")
	}
}

// Apply refuses a verdict about a container that is no longer as it was planned.
func TestApplyRefusesStale(t *testing.T) {
	for name, spoil := range map[string]func(*cluster.Container){
		"epoch": func(c *cluster.Container) { c.Epoch++ },
		"node":  func(c *cluster.Container) { c.Node = "n3" },
		"lock":  func(c *cluster.Container) { c.Migration = "8" },
	} {
		t.Run(name, func(t *testing.T) {
			m := at(cluster.PhaseSwitch).m
			c := cluster.Container{CTID: "101", Node: "n1", Epoch: 4, Migration: "7"}
			spoil(&c)
			if err := Apply(&m, &c, Change{To: cluster.PhaseCommitted}, t0); err == nil {
				t.Fatal("committed")
			}
		})
	}
}
