package master

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate"
	"github.com/vzcluster/vzcluster/pkg/store"
)

// After a restore the records are older than the hosts. What a container's record says of its node, its run state and its migration is
// worth nothing then; only what the nodes report is. adopt finds out, for one container, from all reports:
//
//	it runs on one node                     it is that node's, at once: it runs nowhere else
//	it runs nowhere, and all nodes reported  it is the node's that has its newest complete copy, stopped; if that host has booted since and
//	                                        the container was to run, it starts
//	only a frozen copy of a migration       the migration is aborted, which thaws it; nobody has released the target, or it would run
//	nobody has it                           it stays as a record, stopped
//	some node has not reported              wait: it may run there
//
// A migration that somebody still reports goes on under its own id with the verdict that the facts give it: committed if the container
// is the target's, aborted if it is the source's.

// attempt is a migration as the nodes report it.
type attempt struct {
	id             string
	source, target string
	epoch          cluster.Epoch
}

// holder is a node with a copy of the container.
type holder struct {
	node   string
	boot   string
	c      copyReport
	frozen bool
}

// adoption is what adopt found out.
type adoption struct {
	c cluster.Container
	m *cluster.Migration // to be stored too
}

// adopt is the adoption plan for one container. m is the migration that its record names, nil if there is none.
func adopt(c cluster.Container, m *cluster.Migration, nodes []cluster.Node, seen sight, now time.Time, finish time.Duration) adoption {
	var running, complete, frozen []holder
	for _, h := range holders(c.CTID, seen) {
		switch {
		case h.frozen:
			frozen = append(frozen, h)
		case h.c.State == cluster.CopyRunning:
			running = append(running, h)
		default:
			complete = append(complete, h)
		}
	}
	wait := func(why string) adoption {
		c.Reason = why
		return adoption{c: c}
	}
	a := attemptOf(c.CTID, m, seen)
	silent := silentNodes(nodes, seen)
	switch {
	case len(running) > 1:
		return wait(fmt.Sprintf("not adopted: it runs on %s and on %s; stop one by hand", running[0].node, running[1].node))
	case len(running) == 1:
		return take(c, m, running[0], a, now, finish)
	case len(silent) > 0 || len(nodes) == 0:
		return wait("not adopted yet: it may run on a node that has not reported since the restore: " + orText(strings.Join(silent, ", "), "none has"))
	case len(complete) > 0:
		newest := slices.MaxFunc(complete, func(x, y holder) int { return cmp.Compare(x.c.Epoch, y.c.Epoch) })
		return take(c, m, newest, a, now, finish)
	case len(frozen) == 1 && a != nil && a.source == frozen[0].node:
		return take(c, m, frozen[0], a, now, finish)
	case len(frozen) > 0:
		return wait("not adopted: there is only a frozen copy, on " + frozen[0].node + ", and no node knows of a migration of it")
	}
	c.Adopt, c.Migration, c.BootID = false, "", ""
	if c.State != cluster.ContainerCreating && c.State != cluster.ContainerDestroying && c.State != cluster.ContainerFailed {
		// A new beginning, not an edge: the record was of another time.
		c.State, c.Want, c.Reason = cluster.ContainerStopped, cluster.WantStopped, "no node has it any more"
	}
	return adoption{c, closed(m, now)}
}

// take makes the container the holder's.
func take(c cluster.Container, m *cluster.Migration, h holder, a *attempt, now time.Time, finish time.Duration) adoption {
	wasBoot, wasWant := c.BootID, c.Want
	c.Adopt, c.Node, c.Migration, c.Reason, c.Failed = false, h.node, "", "", 0
	c.Epoch = max(c.Epoch, h.c.Epoch+1)
	c.RunGen = max(c.RunGen, h.c.RunGen)
	if h.c.SpecGen > c.SpecGen {
		c.SpecGen = h.c.SpecGen + 1 // what the record says is what is to be applied
	}
	out := adoption{m: ruling(m, a, c, h, now, finish)}
	if out.m != nil && !out.m.Closed {
		c.Migration = out.m.ID
	}
	switch {
	case c.State == cluster.ContainerDestroying, h.c.State == cluster.CopyCreating, h.c.State == cluster.CopyFailed:
		// The order stands; who has to carry it out is known now.
	case h.c.State == cluster.CopyRunning, h.frozen:
		c.State, c.Want, c.BootID = cluster.ContainerRunning, cluster.WantRunning, h.boot
	case wasWant == cluster.WantRunning && c.Spec.OnBoot && wasBoot != "" && wasBoot != h.boot:
		c.State, c.BootID, c.Reason = cluster.ContainerStopped, h.boot, "its host has booted"
		c.RunGen++
	default:
		c.State, c.Want, c.BootID = cluster.ContainerStopped, cluster.WantStopped, ""
	}
	out.c = c
	return out
}

// ruling is the record of the container's migration by the facts: nil if there is none.
func ruling(m *cluster.Migration, a *attempt, c cluster.Container, h holder, now time.Time, finish time.Duration) *cluster.Migration {
	if a == nil {
		out := closed(m, now) // no side has anything left of it
		if out != nil && h.node == out.Target {
			out.Phase = cluster.PhaseDone
		}
		return out
	}
	if m == nil || m.ID != a.id {
		m = &cluster.Migration{ID: a.id, CTID: c.CTID, Source: a.source, Target: a.target, Epoch: a.epoch, Mode: cluster.ModeAuto, Created: now}
	}
	out := *m
	out.Changed, out.Deadline, out.Reason = now, now.Add(finish), "decided by where the container is after the restore of the records"
	if h.node == out.Target {
		out.Phase, out.From.Step, out.To.Step = cluster.PhaseCommitted, cluster.SourceShipped, cluster.TargetRunning
	} else {
		out.Phase = cluster.PhaseAborting
	}
	return &out
}

// closed ends a migration of which nothing is left.
func closed(m *cluster.Migration, now time.Time) *cluster.Migration {
	if m == nil || m.Closed {
		return nil
	}
	out := *m
	out.Closed, out.Changed, out.Reason = true, now, "nothing was left of it after the restore of the records"
	if !out.Phase.Decided() || out.Phase == cluster.PhaseAborting {
		out.Phase = cluster.PhaseFailed
	} else {
		out.Phase = cluster.PhaseDone
	}
	return &out
}

// holders lists the nodes with a copy of a container: complete ones, or frozen ones of a migration's source.
func holders(ctid string, seen sight) []holder {
	var out []holder
	for node, r := range seen.nodes {
		if r == nil {
			continue
		}
		if c, ok := r.find(ctid); ok {
			out = append(out, holder{node: node, boot: r.BootID, c: c})
			continue
		}
		for _, i := range r.byCTID[ctid] {
			if c := r.Copies[i]; c.State == cluster.CopyFrozen {
				out = append(out, holder{node, r.BootID, c, true})
				break
			}
		}
	}
	slices.SortFunc(out, func(a, b holder) int { return strings.Compare(a.node, b.node) })
	return out
}

// attemptOf finds the newest migration of a container that a node still reports. known completes what only one side reports.
func attemptOf(ctid string, known *cluster.Migration, seen sight) *attempt {
	var best *attempt
	for node, r := range seen.nodes {
		if r == nil {
			continue
		}
		for id, s := range r.Migrations {
			if s.CTID != ctid || (best != nil && (s.Epoch < best.epoch || (s.Epoch == best.epoch && id < best.id))) {
				continue
			}
			if best == nil || best.id != id {
				best = &attempt{id: id, epoch: s.Epoch}
			}
			if s.Role == roleSource {
				best.source = node
			} else {
				best.target = node
			}
		}
	}
	if best != nil && known != nil && known.ID == best.id {
		best.source, best.target = known.Source, known.Target
	}
	return best
}

// silentNodes are the nodes that have not reported in this term.
func silentNodes(nodes []cluster.Node, seen sight) []string {
	var out []string
	for _, n := range nodes {
		if r := seen.nodes[n.Name]; r == nil || r.At.Before(seen.since) {
			out = append(out, n.Name)
		}
	}
	return out
}

// adoptions is the plan that finds the containers of a restored state again.
func (t *term) adoptions(st *store.State, seen sight, now time.Time) (steps []step, wake time.Time) {
	var nodes []cluster.Node
	for c := range st.Containers().All() {
		if !c.Adopt {
			continue
		}
		if nodes == nil {
			nodes = []cluster.Node{}
			for n := range st.Nodes().All() {
				nodes = append(nodes, n)
			}
		}
		if a := adopt(c, openMigration(st.Migrations(), c), nodes, seen, now, t.finish()); a.c.Adopt && a.c.Reason == c.Reason {
			continue
		}
		steps = append(steps, step{"adoption of container " + c.CTID, func(tx *store.Tx) (func(), error) {
			return t.adoptTx(tx, c.CTID, seen, now)
		}})
	}
	return steps, time.Time{}
}

func (t *term) finish() time.Duration {
	if f := t.m.cfg.Timeouts.Finish; f > 0 {
		return f
	}
	return migrate.DefaultTimeouts.Finish
}

func (t *term) adoptTx(tx *store.Tx, ctid string, seen sight, now time.Time) (func(), error) {
	c, ok := tx.Containers().Get(ctid)
	if !ok || !c.Adopt {
		return nil, nil
	}
	a := adopt(c, openMigration(tx.Migrations(), c), slices.Collect(tx.Nodes().All()), seen, now, t.finish())
	a.c.Changed = now
	tx.Containers().Put(a.c)
	if a.m != nil {
		tx.Migrations().Put(*a.m)
	}
	return func() {
		slog.Info("container after the restore", "ctid", ctid, "adopted", !a.c.Adopt, "node", a.c.Node, "state", a.c.State, "epoch", a.c.Epoch,
			"migration", a.c.Migration, "reason", a.c.Reason)
	}, nil
}
