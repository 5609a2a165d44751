package container

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/runc/libcontainer"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/node/network"
)

// Start implements [node.Runtime].
func (r *Runtime) Start(ctx context.Context, c cluster.Container) error {
	defer r.locks.lock(c.CTID)()
	if err := r.start(ctx, c); err != nil {
		return fmt.Errorf("start %s: %w", c.CTID, err)
	}
	return nil
}

func (r *Runtime) start(ctx context.Context, c cluster.Container) error {
	rec, err := r.heldFor(c)
	if err != nil {
		return err
	}
	if err := checkIDs(c); err != nil {
		return err
	}
	lc, st, _, err := r.running(c.CTID)
	if err != nil {
		return err
	}
	if st == libcontainer.Paused {
		return errors.New("it is frozen")
	}
	// While it starts, Copies goes on telling the old generation: the new one together with "stopped" would mean that it had run.
	defer r.begin(c.CTID, rec.RunGen)()
	rec.Epoch, rec.RunGen, rec.SpecGen, rec.Spec = c.Epoch, c.RunGen, c.SpecGen, c
	if err := writeRecord(r.confPath(c.CTID), rec); err != nil {
		return err
	}
	switch st {
	case libcontainer.Running:
		return nil
	case libcontainer.Created:
		if err = r.finishStart(ctx, c, lc); err != nil {
			return errors.Join(err, r.clean(c.CTID))
		}
		return nil
	}
	if err := r.clean(c.CTID); err != nil { // what a former life left
		return err
	}
	if err := r.launch(ctx, c); err != nil {
		return errors.Join(err, r.clean(c.CTID))
	}
	r.log.Info("container started", "ctid", c.CTID, "epoch", c.Epoch, "run_gen", c.RunGen)
	return nil
}

// heldFor returns the record of the live copy if it is the one that an order is for.
func (r *Runtime) heldFor(c cluster.Container) (Record, error) {
	rec, ok, err := r.held(c.CTID)
	if err != nil {
		return rec, err
	}
	if !ok {
		return rec, errors.New("this host holds no copy of it")
	}
	if rec.Epoch > c.Epoch {
		return rec, fmt.Errorf("the order is of epoch %d, the copy is held for %d", c.Epoch, rec.Epoch)
	}
	return rec, nil
}

// start mark of a container: changes when a start begins and when it ends.
type startMark struct {
	count    uint64
	underWay bool
	oldGen   uint64 // while it is under way: the generation from before
}

// begin marks a start as under way.
func (r *Runtime) begin(ctid string, oldGen uint64) (end func()) {
	set := func(underWay bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.starts[ctid] = startMark{r.starts[ctid].count + 1, underWay, oldGen}
	}
	set(true)
	return func() { set(false) }
}

func (r *Runtime) startMark(ctid string) startMark {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.starts[ctid]
}

// launch makes everything that a running container has, up to its running init.
func (r *Runtime) launch(ctx context.Context, c cluster.Container) error {
	if err := r.mountRoot(c.CTID, r.rootDir(c.CTID)); err != nil {
		return err
	}
	if err := r.makeDevices(c.CTID, c.IDBase); err != nil {
		return err
	}
	if err := r.attachConsole(ctx, c.CTID); err != nil {
		return err
	}
	lc, err := libcontainer.Create(r.stateRoot(), c.CTID, r.config(c))
	if err != nil {
		return err
	}
	p := &libcontainer.Process{Args: initArgs(c), Env: initEnv(c.CTID), Cwd: "/", Init: true}
	if err := lc.Start(p); err != nil {
		return err
	}
	// It is our child for as long as we live: collect it when it ends.
	go func() { _, _ = p.Wait() }()
	return r.finishStart(ctx, c, lc)
}

// finishStart lets an init run that waits at its exec FIFO, after its network is there.
func (r *Runtime) finishStart(ctx context.Context, c cluster.Container, lc *libcontainer.Container) error {
	s, err := lc.State()
	if err != nil {
		return err
	}
	if n := r.netConfig(c); n.MAC != "" { // the leader gives every container that is to have a network its MAC
		if err := network.Attach(ctx, n, s.InitProcessPid); err != nil {
			return err
		}
	} else if err := network.Loopback(s.InitProcessPid); err != nil {
		return err
	}
	if err := lc.Exec(); err != nil {
		return fmt.Errorf("run %q: %w", initArgs(c), err)
	}
	r.watch.add(c.CTID, s.InitProcessPid)
	return nil
}

// netConfig completes a container's network by the host's defaults.
func (r *Runtime) netConfig(c cluster.Container) network.Config {
	n := c.Spec.Net
	cfg := network.Config{Bridge: n.Bridge, Host: network.HostName(c.CTID), MAC: n.MAC, Addresses: n.Addresses, Gateway: n.Gateway}
	if cfg.Bridge == "" {
		cfg.Bridge = r.cfg.Bridge
	}
	if cfg.Gateway == "" && len(n.Addresses) > 0 {
		cfg.Gateway = r.cfg.Gateway
	}
	return cfg
}
