package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// action is one call of the runtime for one container.
type action struct {
	what string
	kind orderKind
	gen  uint64 // of the order, for an error's report
	do   func(ctx context.Context) error
}

// orderKind tells which generation an order counts by.
type orderKind string

const (
	orderSpec   orderKind = "spec"   // create, apply
	orderRun    orderKind = "run"    // start, stop
	orderRemove orderKind = "remove" // destroy, discard: repeated until it succeeds
)

// next works out what is to be done next for a container; nil if nothing is. It only looks.
func (a *Agent) next(ctid string, w wanted, owned bool) *action {
	rt := a.cfg.Runtime
	if d := a.discardOf(ctid); d != nil {
		epoch := cluster.Epoch(d.Epoch)
		return &action{"discard", orderRemove, 0, func(ctx context.Context) error { return rt.Remove(ctx, ctid, epoch) }}
	}
	if !owned {
		return nil
	}
	live, have := a.liveCopy(ctid)
	c := w.c
	switch {
	case have && live.Epoch > c.Epoch:
		return nil // R5: an order from the past
	case w.destroy && have:
		return &action{"destroy", orderRemove, c.RunGen, func(ctx context.Context) error { return rt.Remove(ctx, ctid, live.Epoch) }}
	case w.destroy:
		return nil
	case !have:
		return a.nextCreate(c)
	case live.State == cluster.CopyFrozen, live.State == cluster.CopyCreating, live.State == cluster.CopyFailed:
		return nil
	case live.Epoch < c.Epoch, live.SpecGen < c.SpecGen && !a.failed(ctid, orderSpec, c.SpecGen):
		return &action{"apply", orderSpec, c.SpecGen, func(ctx context.Context) error { return rt.Apply(ctx, c) }}
	case a.failed(ctid, orderRun, c.RunGen):
		return nil // an order is tried once
	case live.RunGen < c.RunGen && c.Want == cluster.WantRunning:
		return &action{"start", orderRun, c.RunGen, func(ctx context.Context) error { return rt.Start(ctx, c) }}
	case live.RunGen < c.RunGen:
		return &action{"stop", orderRun, c.RunGen, func(ctx context.Context) error { return rt.Stop(ctx, c) }}
	}
	return nil
}

// nextCreate makes a container that was placed here, once its template has arrived.
func (a *Agent) nextCreate(c cluster.Container) *action {
	if c.State != cluster.ContainerCreating || a.failed(c.CTID, orderSpec, c.SpecGen) || !a.templates[c.Digest] {
		return nil
	}
	tar := a.templatePath(c.Digest)
	// The copy begins stopped and without a start order carried out: that comes next, if it is wanted.
	fresh := c
	fresh.RunGen, fresh.Want = 0, cluster.WantStopped
	return &action{"create", orderSpec, c.SpecGen, func(ctx context.Context) error {
		if _, err := os.Stat(filepath.Clean(tar)); err != nil {
			return err
		}
		return a.cfg.Runtime.Create(ctx, fresh, tar)
	}}
}

func (a *Agent) failed(ctid string, kind orderKind, gen uint64) bool {
	f, ok := a.failures[ctid]
	return ok && f.kind == kind && f.gen == gen
}

// liveCopy is the container itself: neither a dead nor a half-made copy.
func (a *Agent) liveCopy(ctid string) (Copy, bool) {
	for _, c := range a.copies[ctid] {
		if c.State != cluster.CopyRetired && c.State != cluster.CopyStaged {
			return c.Copy, true
		}
	}
	return Copy{}, false
}

// discardOf finds a copy that is here and that the leader wants removed, by its name (R6).
func (a *Agent) discardOf(ctid string) *vzpb.Discard {
	for _, d := range a.discards {
		if d.Ctid != ctid {
			continue
		}
		for _, c := range a.copies[ctid] {
			if uint64(c.Epoch) == d.Epoch {
				return d
			}
		}
	}
	return nil
}

// reconcile gives every container that has something to be done, and that nobody has in hands, a worker; and every new migration its
// runner. It is called after each change of what is wanted and of what is there.
func (a *Agent) reconcile() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx.Err() != nil {
		return
	}
	a.startMigrations()
	inHands := a.inHands()
	ctids := make(map[string]bool, len(a.wanted))
	for ctid := range a.wanted {
		ctids[ctid] = true
	}
	for _, d := range a.discards {
		ctids[d.Ctid] = true
	}
	for ctid := range ctids {
		if inHands[ctid] {
			continue
		}
		w, owned := a.wanted[ctid]
		if act := a.next(ctid, w, owned); act != nil {
			a.busy[ctid] = true
			a.tasks.Go(func() error {
				a.work(ctid, act)
				return nil
			})
		}
	}
}

// work does one action. What comes next is decided anew by what is there then.
func (a *Agent) work(ctid string, act *action) {
	log := a.log.With("ctid", ctid, "order", act.what)
	err := act.do(a.ctx)
	if a.ctx.Err() != nil && err != nil {
		a.release(ctid)
		return // the agent ends; a later life of it looks again
	}
	if err != nil {
		log.Error("order failed", "err", err)
	} else {
		log.Info("order done")
	}
	a.mu.Lock()
	switch f := a.failures[ctid]; {
	case err != nil && act.gen != 0:
		a.failures[ctid] = failure{act.kind, act.gen, fmt.Sprintf("%s: %v", act.what, err)}
	case err == nil && f.kind == act.kind:
		delete(a.failures, ctid)
	}
	a.mu.Unlock()
	a.release(ctid)
	a.refresh(a.ctx)
	a.wake()
	if err == nil {
		a.reconcile() // what failed is considered again at the next look
	}
}

func (a *Agent) release(ctid string) {
	a.mu.Lock()
	delete(a.busy, ctid)
	a.mu.Unlock()
}

// errExec says why nobody may enter a container now.
var errExec = errors.New("the container is being moved; try again when its migration is over")

// enter counts an exec session in, unless the container is being moved.
func (a *Agent) enter(ctid string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.migrations {
		if m.begin.Attempt.Container.CTID == ctid && m.closedDoor() {
			return errExec
		}
	}
	a.sessions[ctid]++
	return nil
}

func (a *Agent) leave(ctid string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sessions[ctid]--; a.sessions[ctid] <= 0 {
		delete(a.sessions, ctid)
	}
}
