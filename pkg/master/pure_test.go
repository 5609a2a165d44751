package master

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/pkg/store/memlog"
)

func TestIncompatible(t *testing.T) {
	base := newAgent("x").info.Features
	for _, tc := range []struct {
		name string
		edit func(src, dst *cluster.Features)
		says string // empty: compatible
	}{
		{"equal", func(_, _ *cluster.Features) {}, ""},
		{"target can more", func(_, dst *cluster.Features) { dst.CPUFlags = append(dst.CPUFlags, "avx512f") }, ""},
		{"newer kernel at the target", func(_, dst *cluster.Features) { dst.Kernel = "7.0" }, ""},
		{"another patch level of CRIU", func(_, dst *cluster.Features) { dst.CRIUVersion = 40202 }, ""},
		{"no CRIU at the target", func(_, dst *cluster.Features) { dst.CRIU = "" }, "node dst has no usable CRIU"},
		{"no CRIU at the source", func(src, _ *cluster.Features) { src.CRIUVersion = 0 }, "node src has no usable CRIU"},
		{"another CRIU", func(_, dst *cluster.Features) { dst.CRIU, dst.CRIUVersion = "4.1", 40100 }, "CRIU 4.2.1 on src and 4.1 on dst"},
		{"arch", func(_, dst *cluster.Features) { dst.Arch = "arm64" }, "arm64 on dst"},
		{"cgroup", func(_, dst *cluster.Features) { dst.Cgroup = "v1" }, "cgroup v2 on src, v1 on dst"},
		{"older kernel", func(_, dst *cluster.Features) { dst.Kernel = "6.6.30-lts" }, "kernel 6.6.30-lts on dst is older"},
		{"no common protocol", func(_, dst *cluster.Features) { dst.Transfer = []int32{2} }, "no common version"},
		{"lacks flags", func(src, _ *cluster.Features) { src.CPUFlags = []string{"a", "b", "c", "d", "e", "f", "g"} }, "a, b, c, d, e, and 2 more"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src, dst := cluster.Node{Name: "src"}, cluster.Node{Name: "dst"}
			src.Info.Features, dst.Info.Features = base, base
			src.Info.Features.CPUFlags, dst.Info.Features.CPUFlags = slices.Clone(base.CPUFlags), slices.Clone(base.CPUFlags)
			tc.edit(&src.Info.Features, &dst.Info.Features)
			got := incompatible(src, dst)
			if (got == "") != (tc.says == "") || !strings.Contains(got, tc.says) {
				t.Errorf("got %q, want %q", got, tc.says)
			}
		})
	}
}

// What observe must not do, whatever is reported: touch a container whose migration is undecided, move it to another node, lower an
// epoch or an order, or drop a record while its owner still holds a copy.
func TestObserveIsSafe(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	states := []cluster.ContainerState{cluster.ContainerCreating, cluster.ContainerStopped, cluster.ContainerRunning, cluster.ContainerDestroying, cluster.ContainerFailed}
	copies := []cluster.CopyState{cluster.CopyCreating, cluster.CopyStopped, cluster.CopyRunning, cluster.CopyFrozen, cluster.CopyStaged, cluster.CopyRetired, cluster.CopyFailed, cluster.CopyDeclined, "nonsense"}
	phases := []cluster.Phase{cluster.PhasePending, cluster.PhasePrepare, cluster.PhaseCopy, cluster.PhaseSwitch, cluster.PhaseCommitted, cluster.PhaseDone, cluster.PhaseAborting}
	rapid.Check(t, func(t *rapid.T) {
		gen := rapid.Uint64Range(1, 4)
		c := cluster.Container{CTID: "101", Node: "n1", Epoch: cluster.Epoch(gen.Draw(t, "epoch")), RunGen: gen.Draw(t, "run"), SpecGen: gen.Draw(t, "spec"),
			State: rapid.SampledFrom(states).Draw(t, "state"), Want: rapid.SampledFrom([]cluster.RunState{cluster.WantRunning, cluster.WantStopped}).Draw(t, "want"),
			BootID: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "boot"), Changed: now.Add(-time.Hour)}
		c.Spec.OnBoot = rapid.Bool().Draw(t, "onboot")
		var m *cluster.Migration
		if rapid.Bool().Draw(t, "migrating") {
			c.Migration = "7"
			m = &cluster.Migration{ID: "7", CTID: "101", Phase: rapid.SampledFrom(phases).Draw(t, "phase")}
		}
		var r *report
		if rapid.Bool().Draw(t, "reported") {
			r = &report{At: now, BootID: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "report boot")}
			for range rapid.IntRange(0, 3).Draw(t, "copies") {
				cp := copyReport{RunGen: gen.Draw(t, "copy run"), ErrorGen: gen.Draw(t, "error gen")}
				cp.CTID, cp.Epoch, cp.State = "101", cluster.Epoch(gen.Draw(t, "copy epoch")), rapid.SampledFrom(copies).Draw(t, "copy state")
				cp.Error = rapid.SampledFrom([]string{"", "boom"}).Draw(t, "error")
				r.Copies = append(r.Copies, cp)
			}
			r.index()
		}
		owner := cluster.Node{Name: "n1", State: cluster.NodeOnline, BootID: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "node boot")}
		o := observe(c, owner, m, r, now)
		if m != nil && !m.Phase.Decided() && (o.gone || !sameContainer(o.c, c)) {
			t.Fatalf("touched during %s: %+v -> %+v", m.Phase, c, o.c)
		}
		if o.c.Node != c.Node || o.c.Epoch < c.Epoch || o.c.RunGen < c.RunGen {
			t.Fatalf("%+v -> %+v", c, o.c)
		}
		if c.Want == cluster.WantStopped && o.c.Want == cluster.WantRunning {
			t.Fatalf("started by itself: %+v", o.c)
		}
		if o.gone && (c.State != cluster.ContainerDestroying || r == nil || r.BootID != owner.BootID || heldUpTo(r, c.CTID, c.Epoch)) {
			t.Fatalf("dropped %+v with %+v", c, r)
		}
		// Observing again what was just observed changes nothing: the loop comes to rest.
		o.c.Changed = now
		if again := observe(o.c, owner, m, r, now); !o.gone && m == nil && !sameContainer(again.c, o.c) {
			second := observe(again.c, owner, m, r, now)
			if !sameContainer(second.c, again.c) {
				t.Fatalf("never comes to rest: %+v -> %+v -> %+v", o.c, again.c, second.c)
			}
		}
	})
}

// records makes a state of records.
func records(t *testing.T, f func(tx *store.Tx)) *store.State {
	t.Helper()
	c := memlog.New(1)
	s := store.New(c.Member(0))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	led := make(chan struct{})
	go func() { _ = s.Run(ctx); done <- struct{}{} }()
	go func() {
		_ = s.Lead(ctx, func(ctx context.Context, _ uint64) error { close(led); <-ctx.Done(); return nil })
		done <- struct{}{}
	}()
	<-led
	st, err := s.Update(ctx, func(tx *store.Tx) error { f(tx); return nil })
	cancel()
	<-done
	<-done
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// No discard is ever sent for the copy that the records say may run, for a copy of an open migration, for one of a container that
// the cluster never knew, or while the owner does not hold the container complete (R6, R10).
func TestDiscardsAreSafe(t *testing.T) {
	st := records(t, func(tx *store.Tx) {
		for i, mig := range []string{"", "7"} {
			tx.Containers().Put(cluster.Container{CTID: fmt.Sprint(101 + i), Node: "n1", Epoch: 3, State: cluster.ContainerRunning, Migration: mig})
		}
		tx.Migrations().Put(cluster.Migration{ID: "7", CTID: "102", Source: "n1", Target: "n2", Epoch: 3, Phase: cluster.PhaseSwitch})
		tx.Migrations().Put(cluster.Migration{ID: "6", CTID: "101", Source: "n2", Target: "n1", Epoch: 2, Phase: cluster.PhaseDone, Closed: true})
		tx.Gone().Put(cluster.Gone{CTID: "103", Epoch: 3})
		for _, n := range []string{"n1", "n2"} {
			tx.Nodes().Put(cluster.Node{Name: n, State: cluster.NodeOnline})
		}
	})
	states := []cluster.CopyState{cluster.CopyCreating, cluster.CopyStopped, cluster.CopyRunning, cluster.CopyFrozen, cluster.CopyStaged, cluster.CopyRetired, cluster.CopyFailed}
	sent := 0
	rapid.Check(t, func(t *rapid.T) {
		seen := sight{nodes: map[string]*report{}}
		for _, n := range []string{"n1", "n2"} {
			r := &report{Migrations: map[string]sideReport{}}
			for range rapid.IntRange(0, 4).Draw(t, "copies") {
				r.Copies = append(r.Copies, copyReport{CopyInfo: cluster.CopyInfo{CTID: fmt.Sprint(rapid.IntRange(101, 104).Draw(t, "ctid")),
					Epoch: cluster.Epoch(rapid.IntRange(1, 4).Draw(t, "epoch")), State: rapid.SampledFrom(states).Draw(t, "state")}})
			}
			if rapid.IntRange(0, 4).Draw(t, "asks") == 0 {
				r.Migrations["6"] = sideReport{Role: roleSource}
			}
			seen.nodes[n] = r.index()
		}
		own, complete := seen.nodes["n1"].find("101")
		complete = complete && own.Epoch >= 3 && (own.State == cluster.CopyRunning || own.State == cluster.CopyStopped)
		for _, n := range []string{"n1", "n2"} {
			for _, d := range discards(st, n, seen) {
				sent++
				_, asks := seen.nodes[n].Migrations["6"]
				switch {
				case d.Ctid == "102" || d.Ctid == "104":
					t.Fatalf("%s: discard %v", n, d)
				case d.Ctid == "103" && d.Epoch > 3:
					t.Fatalf("%s: discard %v is above the tombstone", n, d)
				case d.Ctid == "101" && (d.Epoch >= 3 || !complete || asks):
					t.Fatalf("%s: discard %v with the owner's %+v", n, d, own)
				}
			}
		}
	})
	if sent == 0 {
		t.Fatal("nothing was ever discarded: the test tests nothing")
	}
}

// judge never calls a node offline before its lease is over, whatever the order of reports and looks.
func TestJudge(t *testing.T) {
	since := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	l := DefaultLeases
	rapid.Check(t, func(t *rapid.T) {
		n := cluster.Node{Name: "n1", State: rapid.SampledFrom([]cluster.NodeState{"", cluster.NodeOnline, cluster.NodeUnknown, cluster.NodeOffline}).Draw(t, "state")}
		var r *report
		now, heard := since, since
		for range rapid.IntRange(1, 20).Draw(t, "looks") {
			now = now.Add(time.Duration(rapid.IntRange(1, 8000).Draw(t, "ms")) * time.Millisecond)
			if rapid.Bool().Draw(t, "report") {
				r, heard = &report{At: now, BootID: "b"}, now
			}
			was := n.State
			var wake time.Time
			n, wake = judge(n, r, since, now, l)
			quiet := now.Sub(heard)
			switch {
			case n.State == cluster.NodeOffline && was != cluster.NodeOffline && quiet < l.over():
				t.Fatalf("offline after %v", quiet)
			case n.State == cluster.NodeUnknown && was != cluster.NodeUnknown && quiet < l.silent():
				t.Fatalf("unknown after %v", quiet)
			case r != nil && quiet < l.silent() && n.State != cluster.NodeOnline:
				t.Fatalf("%s, though it reported %v ago", n.State, quiet)
			case quiet >= l.over() && n.State == cluster.NodeOnline:
				t.Fatalf("online after %v", quiet)
			case n.State != cluster.NodeOffline && n.State != "" && !wake.After(now):
				t.Fatalf("%s, and no time to look again", n.State)
			}
		}
	})
}
