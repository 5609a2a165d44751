package master

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
)

// startGrace is how long a container that is ordered to run may be reported as stopped, with the order carried out, before it counts
// as having ended by itself: the agent notes an order before it starts init.
const startGrace = 30 * time.Second

// observed is what became of a container's record.
type observed struct {
	c    cluster.Container
	gone bool      // the record is to be replaced by a tombstone
	wake time.Time // look again
}

// observe is the containers plan for one container: its record after what its owner reported. m is its open migration, nil if none.
func observe(c cluster.Container, owner cluster.Node, m *cluster.Migration, r *report, now time.Time) observed {
	out := observed{c: c}
	if m != nil && !m.Phase.Decided() {
		return out // the verdict comes first: until then nobody may give the container another epoch or order
	}
	if m != nil && m.Phase == cluster.PhaseCommitted {
		observeCommitted(&out.c, owner, m, r)
		return out
	}
	if rebooted(c, owner) {
		coldStart(&out.c, owner)
		return out
	}
	if r == nil || r.BootID != owner.BootID {
		return out // nothing heard, or heard before the node's own record was brought up to date
	}
	cp, there := r.find(c.CTID)
	if c.State == cluster.ContainerDestroying {
		out.gone = !heldUpTo(r, c.CTID, c.Epoch)
		if there && cp.Error != "" {
			out.c.Reason = "destroy: " + cp.Error
		}
		return out
	}
	if !there {
		return out
	}
	out.wake = observeCopy(&out.c, cp, now)
	return out
}

// observeCommitted: the target owns the container, but has not been seen to run it. If its host has booted since, or if it reports a
// complete copy without a running init, what it held was lost on the way: it starts anew from the disk (R9, R11).
func observeCommitted(c *cluster.Container, owner cluster.Node, m *cluster.Migration, r *report) {
	if rebooted(*c, owner) {
		coldStart(c, owner)
		return
	}
	cp, there := r.find(c.CTID)
	if there && c.Want == cluster.WantRunning && m.To.Step != cluster.TargetRunning &&
		cp.State == cluster.CopyStopped && cp.Epoch == c.Epoch && cp.RunGen == c.RunGen {
		c.RunGen++
		c.Reason = "its tasks were lost at " + c.Node + " after the commit of its migration; started anew from its disk"
	}
}

// rebooted tells whether the container's node has booted since it was ordered to run there.
func rebooted(c cluster.Container, owner cluster.Node) bool {
	return c.Want == cluster.WantRunning && c.BootID != "" && owner.BootID != "" && owner.BootID != c.BootID &&
		c.State != cluster.ContainerDestroying && c.State != cluster.ContainerFailed
}

// coldStart: the host has booted, so no task is left. The epoch goes up, so that no image of the past can come back (R9).
func coldStart(c *cluster.Container, owner cluster.Node) {
	if c.State == cluster.ContainerRunning {
		_ = c.Move(cluster.ContainerStopped, "host "+owner.Name+" booted")
	}
	if !c.Spec.OnBoot {
		c.Want, c.BootID = cluster.WantStopped, ""
		return
	}
	c.RunGen++
	c.Epoch++
	c.BootID = owner.BootID
}

// observeCopy takes over what the owner says of the copy that is the container.
func observeCopy(c *cluster.Container, cp copyReport, now time.Time) (wake time.Time) {
	switch {
	case c.State == cluster.ContainerCreating && (cp.State == cluster.CopyFailed || (cp.State == cluster.CopyCreating && cp.Error != "")):
		_ = c.Move(cluster.ContainerFailed, orText(cp.Error, "it could not be created"))
		return
	case c.State == cluster.ContainerCreating && (cp.State == cluster.CopyStopped || cp.State == cluster.CopyRunning):
		_ = c.Move(cluster.ContainerStopped, "")
	case c.State == cluster.ContainerCreating || c.State == cluster.ContainerFailed:
		return
	}
	observeError(c, cp)
	ordered := c.Want == cluster.WantRunning && cp.RunGen == c.RunGen // the last start order is carried out
	switch {
	case cp.State == cluster.CopyRunning && c.State == cluster.ContainerStopped:
		reason := ""
		if c.Failed == c.RunGen {
			reason = c.Reason
		}
		_ = c.Move(cluster.ContainerRunning, reason)
	case cp.State == cluster.CopyStopped && c.State == cluster.ContainerRunning:
		reason := ""
		if ordered {
			reason, c.Want, c.BootID = "it ended by itself", cluster.WantStopped, ""
		}
		_ = c.Move(cluster.ContainerStopped, reason)
	case cp.State == cluster.CopyStopped && c.State == cluster.ContainerStopped && ordered && c.Failed != c.RunGen:
		if again := c.Changed.Add(startGrace); now.Before(again) {
			return again
		}
		c.Want, c.BootID, c.Reason = cluster.WantStopped, "", "it ended by itself right after its start"
	}
	return
}

// observeError notes why the last order failed.
func observeError(c *cluster.Container, cp copyReport) {
	if cp.Error == "" || cp.ErrorGen == 0 {
		return
	}
	running := cp.State == cluster.CopyRunning
	asWanted := running == (c.Want == cluster.WantRunning)
	switch {
	case cp.ErrorGen == c.RunGen && (!asWanted || c.RunGen != c.SpecGen):
		c.Failed, c.Reason = c.RunGen, cp.Error
	case cp.ErrorGen == c.SpecGen:
		c.Reason = cp.Error
	}
}

// heldUpTo tells whether the node holds any copy of the container up to epoch e. One that could not be made does not count: an agent
// reports it for as long as it is wanted, and what may be left of it is discarded by name.
func heldUpTo(r *report, ctid string, e cluster.Epoch) bool {
	return slices.ContainsFunc(r.copiesOf(ctid), func(c cluster.CopyInfo) bool { return c.Epoch <= e && c.State != cluster.CopyFailed })
}

func orText(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// same tells whether nothing that is stored has changed.
func sameContainer(a, b cluster.Container) bool {
	return a.State == b.State && a.Want == b.Want && a.RunGen == b.RunGen && a.Epoch == b.Epoch && a.Reason == b.Reason &&
		a.Failed == b.Failed && a.BootID == b.BootID && a.Node == b.Node
}

// containers is the plan that writes what is of containers.
func (t *term) containers(st *store.State, seen sight, now time.Time) (steps []step, wake time.Time) {
	for c := range st.Containers().All() {
		if c.Adopt {
			continue // nobody knows yet whose it is
		}
		owner, _ := st.Nodes().Get(c.Node)
		o := observe(c, owner, openMigration(st.Migrations(), c), seen.nodes[c.Node], now)
		wake = soonest(wake, o.wake)
		if !o.gone && sameContainer(c, o.c) {
			continue
		}
		steps = append(steps, step{"container " + c.CTID, func(tx *store.Tx) (func(), error) {
			return observeTx(tx, c.CTID, seen, now)
		}})
	}
	return steps, wake
}

func observeTx(tx *store.Tx, ctid string, seen sight, now time.Time) (func(), error) {
	c, ok := tx.Containers().Get(ctid)
	if !ok || c.Adopt {
		return nil, nil
	}
	owner, _ := tx.Nodes().Get(c.Node)
	o := observe(c, owner, openMigration(tx.Migrations(), c), seen.nodes[c.Node], now)
	if o.gone {
		tx.Containers().Delete(c.CTID)
		tx.Gone().Put(cluster.Gone{CTID: c.CTID, Epoch: c.Epoch, When: now})
		return func() {
			slog.Info("container destroyed", "ctid", c.CTID, "name", c.Name, "node", c.Node, "epoch", c.Epoch)
		}, nil
	}
	if sameContainer(c, o.c) {
		return nil, nil
	}
	o.c.Changed = now
	tx.Containers().Put(o.c)
	return func() { logContainer(c, o.c) }, nil
}

func logContainer(old, c cluster.Container) {
	log := slog.With("ctid", c.CTID, "node", c.Node, "epoch", c.Epoch)
	if old.Epoch != c.Epoch || old.RunGen != c.RunGen {
		log.Info("container is to start anew", "run_gen", c.RunGen, "reason", c.Reason)
	}
	if old.State != c.State {
		log.Info("container state", "from", old.State, "to", c.State, "want", c.Want, "reason", c.Reason)
	} else if old.Reason != c.Reason || old.Want != c.Want {
		log.Info("container order", "state", c.State, "want", fmt.Sprintf("%s -> %s", old.Want, c.Want), "reason", c.Reason)
	}
}

// getter reads migrations: from a snapshot or inside a transaction.
type getter[T any] interface{ Get(id string) (T, bool) }

// openMigration returns the container's open migration, nil if it has none.
func openMigration(migrations getter[cluster.Migration], c cluster.Container) *cluster.Migration {
	if c.Migration == "" {
		return nil
	}
	m, ok := migrations.Get(c.Migration)
	if !ok || m.Closed {
		return nil
	}
	return &m
}
