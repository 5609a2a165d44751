package cluster

import (
	"fmt"
	"slices"
)

// EdgeError says that a state machine has no such edge. It is always a bug of the caller.
type EdgeError struct{ What, From, To string }

func (e *EdgeError) Error() string { return fmt.Sprintf("%s: no edge %s -> %s", e.What, e.From, e.To) }

// Move is the one gate through which a migration changes its phase.
func (m *Migration) Move(to Phase, reason string) error {
	if !slices.Contains(phaseEdges[m.Phase], to) {
		return &EdgeError{"migration " + m.ID, string(m.Phase), string(to)}
	}
	m.Phase = to
	if reason != "" {
		m.Reason = reason
	}
	return nil
}

// Forward takes a side's reported step if it is later than the known one; steps never go back within an attempt.
func (m *Migration) ForwardSource(s SourceStep) bool {
	if slices.Index(sourceOrder, s) <= slices.Index(sourceOrder, m.From.Step) {
		return false
	}
	m.From.Step = s
	return true
}

// ForwardTarget is ForwardSource for the target.
func (m *Migration) ForwardTarget(s TargetStep) bool {
	if slices.Index(targetOrder, s) <= slices.Index(targetOrder, m.To.Step) {
		return false
	}
	m.To.Step = s
	return true
}

var containerEdges = map[ContainerState][]ContainerState{
	ContainerCreating:   {ContainerStopped, ContainerFailed, ContainerDestroying},
	ContainerStopped:    {ContainerRunning, ContainerDestroying},
	ContainerRunning:    {ContainerStopped, ContainerDestroying},
	ContainerFailed:     {ContainerDestroying},
	ContainerDestroying: {},
}

// Move is the one gate through which a container changes its state.
func (c *Container) Move(to ContainerState, reason string) error {
	if !slices.Contains(containerEdges[c.State], to) {
		return &EdgeError{"container " + c.CTID, string(c.State), string(to)}
	}
	c.State, c.Reason = to, reason
	return nil
}

var nodeEdges = map[NodeState][]NodeState{
	"":          {NodeOnline},
	NodeOnline:  {NodeUnknown, NodeOffline},
	NodeUnknown: {NodeOnline, NodeOffline},
	NodeOffline: {NodeOnline},
}

// Move is the one gate through which a node changes its state.
func (n *Node) Move(to NodeState) error {
	if !slices.Contains(nodeEdges[n.State], to) {
		return &EdgeError{"node " + n.Name, string(n.State), string(to)}
	}
	n.State = to
	return nil
}
