package master

import (
	"context"
	"errors"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/scheduler"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// Bounds of how long init may take to end.
const (
	defaultStopTimeout = 60 * time.Second
	maxStopTimeout     = 24 * time.Hour
)

// change is the common frame of all orders on one container: look up, check the lock, let fn change the record, store it.
func (s *service) change(ctx context.Context, method string, r keyed, name string, dryRun bool, fn func(tx *store.Tx, c *cluster.Container) error) (*vzpb.ContainerResponse, error) {
	var planned cluster.Container
	st, ctid, _, err := s.mutate(ctx, method, r, func(tx *store.Tx, now time.Time) (string, error) {
		c, ok := tx.FindContainer(name)
		if !ok {
			return "", unknownContainer(name)
		}
		if err := unlocked(tx, c); err != nil {
			return "", err
		}
		was := c
		if err := fn(tx, &c); err != nil {
			return "", err
		}
		planned = c
		if dryRun {
			return "", errDryRun
		}
		if !sameContainer(was, c) || was.SpecGen != c.SpecGen {
			c.Changed = now
			tx.Containers().Put(c)
		}
		return c.CTID, nil
	})
	if dryRun && errors.Is(err, errDryRun) {
		return containerResponse(planned, sight{})
	}
	if err != nil {
		return nil, err
	}
	return s.containerNow(st, ctid)
}

// unlocked refuses an order while a migration is open: one operation at a time for each container, the lock is the record.
func unlocked(tx *store.Tx, c cluster.Container) error {
	if c.Adopt {
		return refuse("container %s: the records were restored, and it is not known yet where it is (%s); wait until it is found", label(c), orText(c.Reason, "the nodes are being asked"))
	}
	if m := openMigration(tx.Migrations(), c); m != nil {
		return refuse("container %s: migration %s to %s is open (phase %s); wait for its end ('migrations %s' shows it)", label(c), m.ID, m.Target, m.Phase, m.ID)
	}
	return nil
}

// reachable refuses an order that nobody could carry out now.
func reachable(tx *store.Tx, c cluster.Container) error {
	if n, ok := tx.Nodes().Get(c.Node); !ok || n.State == cluster.NodeOffline {
		return refuse("container %s: its node %s is offline; it can be ordered about again when the node is back", label(c), c.Node)
	}
	return nil
}

// usable refuses orders on what is being destroyed or never was complete.
func usable(c cluster.Container) error {
	switch c.State {
	case cluster.ContainerDestroying:
		return refuse("container %s: it is being destroyed", label(c))
	case cluster.ContainerFailed:
		return refuse("container %s: it could not be created (%s); destroy it", label(c), c.Reason)
	}
	return nil
}

// StartContainer implements the Cluster service. Starting what runs changes nothing.
func (s *service) StartContainer(ctx context.Context, r *vzpb.ContainerOpRequest) (*vzpb.ContainerResponse, error) {
	return s.change(ctx, "StartContainer", r, r.Name, r.DryRun, func(tx *store.Tx, c *cluster.Container) error {
		if err := usable(*c); err != nil {
			return err
		}
		if c.Want == cluster.WantRunning && c.Failed != c.RunGen {
			return nil // it runs, or the order is under way
		}
		if err := reachable(tx, *c); err != nil {
			return err
		}
		n, _ := tx.Nodes().Get(c.Node)
		c.Want, c.BootID, c.Force, c.Reason, c.Failed = cluster.WantRunning, n.BootID, false, "", 0
		c.RunGen++
		return nil
	})
}

// StopContainer implements the Cluster service. Stopping what is stopped changes nothing.
func (s *service) StopContainer(ctx context.Context, r *vzpb.ContainerOpRequest) (*vzpb.ContainerResponse, error) {
	timeout := time.Duration(r.TimeoutNs)
	if timeout < 0 || timeout > maxStopTimeout {
		return nil, invalid("timeout", timeout.String(), "out of range: 0 to "+maxStopTimeout.String(), "for example --timeout 60s")
	}
	if timeout == 0 {
		timeout = defaultStopTimeout
	}
	return s.change(ctx, "StopContainer", r, r.Name, r.DryRun, func(tx *store.Tx, c *cluster.Container) error {
		if err := usable(*c); err != nil {
			return err
		}
		if c.Want == cluster.WantStopped && (c.State != cluster.ContainerRunning || (c.Failed != c.RunGen && (c.Force || !r.Force))) {
			return nil // it is stopped, or the order is under way
		}
		if err := reachable(tx, *c); err != nil {
			return err
		}
		c.Want, c.BootID, c.Force, c.StopTimeout, c.Reason, c.Failed = cluster.WantStopped, "", r.Force, timeout, "", 0
		c.RunGen++
		return nil
	})
}

// DestroyContainer implements the Cluster service. The record goes when the node no longer reports a copy.
func (s *service) DestroyContainer(ctx context.Context, r *vzpb.ContainerOpRequest) (*vzpb.ContainerResponse, error) {
	return s.change(ctx, "DestroyContainer", r, r.Name, r.DryRun, func(tx *store.Tx, c *cluster.Container) error {
		if c.State == cluster.ContainerDestroying {
			return nil
		}
		if (c.State == cluster.ContainerRunning || c.Want == cluster.WantRunning) && !r.Force {
			return refuse("container %s: it is running; stop it first, or destroy it with --force", label(*c))
		}
		c.Want, c.BootID, c.Force = cluster.WantStopped, "", true
		c.RunGen++
		return c.Move(cluster.ContainerDestroying, "")
	})
}

// SetContainer implements the Cluster service.
func (s *service) SetContainer(ctx context.Context, r *vzpb.SetContainerRequest) (*vzpb.ContainerResponse, error) {
	from, err := decodeSpec(r.SpecJson)
	if err != nil {
		return nil, err
	}
	return s.change(ctx, "SetContainer", r, r.Name, false, func(tx *store.Tx, c *cluster.Container) error {
		if err := usable(*c); err != nil {
			return err
		}
		spec, err := c.Spec.Take(from, r.Fields)
		if err != nil {
			return err
		}
		if err := spec.Validate(); err != nil {
			return err
		}
		if err := checkAddresses(tx, c.CTID, spec.Net); err != nil {
			return err
		}
		if grows(c.Spec.Resources, spec.Resources) {
			if err := s.room(tx, *c, spec.Resources); err != nil {
				return err
			}
		}
		c.Spec = spec
		c.SpecGen++
		return nil
	})
}

func grows(old, now cluster.Resources) bool { return now.Sub(old) != cluster.Resources{} }

// room checks that the container's node can promise it more. A cordon is about new placements and does not matter here.
func (s *service) room(tx *store.Tx, c cluster.Container, need cluster.Resources) error {
	snap := s.txSnapshot(tx, c.CTID)
	for i := range snap.Nodes {
		if snap.Nodes[i].Name == c.Node {
			snap.Nodes[i].Cordoned = false
		}
	}
	return scheduler.Check(snap, scheduler.Request{Need: need}, c.Node)
}
