package cli

import (
	"fmt"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// RunGoal is the rule for "has the start or stop order been carried out?". It looks at one record of the container and says yes, not
// yet, or why it never will be. Records older than the order, as a master that lags may show them, say nothing.
type RunGoal struct {
	Want cluster.RunState
	Gen  uint64 // RunGen of the order
}

// Reached judges one record.
func (g RunGoal) Reached(c *cluster.Container) (bool, error) {
	switch {
	case c.RunGen < g.Gen:
		return false, nil
	case c.State == cluster.ContainerDestroying:
		return false, Errorf(Conflict, "container %s is being destroyed", Title(c))
	case c.Failed != 0 && c.Failed == c.RunGen && c.Want == g.Want:
		return false, Errorf(Conflict, "container %s was not %s: %s", Title(c), verb(g.Want), reason(c))
	case c.Want != g.Want && c.RunGen > g.Gen:
		return false, Errorf(Conflict, "container %s got another order in the meantime: it is to be %s", Title(c), c.Want)
	case c.Want != g.Want:
		return false, Errorf(Conflict, "container %s was %s and is to be %s again: %s", Title(c), verb(g.Want), c.Want, reason(c))
	}
	if g.Want == cluster.WantRunning {
		return c.State == cluster.ContainerRunning, nil
	}
	return c.State == cluster.ContainerStopped, nil
}

// Created judges one record of a container that is being made. A container that could not be made leaves a record, so this failure is
// not a CONFLICT (nothing changed).
func Created(c *cluster.Container) (bool, error) {
	switch c.State {
	case cluster.ContainerCreating:
		return false, nil
	case cluster.ContainerFailed:
		return false, Errorf(Internal, "container %s could not be made on %s: %s; take it away with 'destroy %s'", Title(c), c.Node, reason(c), c.CTID)
	case cluster.ContainerDestroying:
		return false, Errorf(Conflict, "container %s is being destroyed", Title(c))
	}
	return true, nil
}

// Title names a container for people: its CTID, and its name if it has one.
func Title(c *cluster.Container) string {
	if c.Name == "" {
		return c.CTID
	}
	return fmt.Sprintf("%s (%s)", c.CTID, c.Name)
}

func verb(w cluster.RunState) string {
	if w == cluster.WantRunning {
		return "started"
	}
	return "stopped"
}

func reason(c *cluster.Container) string {
	if c.Reason == "" {
		return "the node gave no reason; see 'console " + c.CTID + "'"
	}
	return c.Reason
}
