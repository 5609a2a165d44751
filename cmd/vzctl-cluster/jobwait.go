package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
)

func (a *app) jobWaitCommand() *cobra.Command {
	var o order
	cmd := &cobra.Command{
		Use:   "wait KEY",
		Short: "wait for an operation's result, as the command that began it would have",
		Args:  operands("KEY"),
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			o.op = args[0]
			return a.jobWait(cmd.Context(), &o)
		}),
	}
	cmd.Flags().Var(&param{typ: "DURATION", set: func(s string) (err error) { o.wait, err = parseDuration(s); return err }}, "wait",
		"how long to wait (default: until the result is there)")
	return cmd
}

func (a *app) jobWait(ctx context.Context, o *order) error {
	op, err := a.operation(ctx, o.op)
	if err != nil {
		return err
	}
	switch kind(op) {
	case "Migrate":
		d, err := a.follow(ctx, o, op.Object)
		if err != nil {
			return err
		}
		return a.migrated(d)
	case "CreateContainer":
		return a.jobAwait(ctx, o, op, "the creation", "was made", cli.Created)
	case "StartContainer":
		return a.jobAwaitRun(ctx, o, op, cluster.WantRunning, "runs")
	case "StopContainer":
		return a.jobAwaitRun(ctx, o, op, cluster.WantStopped, "is stopped")
	case "DestroyContainer":
		return a.jobAwaitGone(ctx, o, op)
	}
	return a.jobShow(ctx, o.op) // done when it was accepted
}

// jobAwait waits for a rule about the operation's container.
func (a *app) jobAwait(ctx context.Context, o *order, op cluster.Operation, what, result string, rule func(*cluster.Container) (bool, error)) error {
	d, err := a.await(ctx, o, op.Object, what+" of "+op.Object, rule)
	if err != nil {
		return err
	}
	return a.done(o, d, what, result+" on "+d.Node)
}

// jobAwaitRun waits for the start or stop order that the operation made.
func (a *app) jobAwaitRun(ctx context.Context, o *order, op cluster.Operation, want cluster.RunState, result string) error {
	gen := op.RunGen
	if gen == 0 { // stored by an older master: the present order counts
		d, err := a.container(ctx, op.Object)
		if err != nil {
			return err
		}
		gen = d.RunGen
	}
	what := map[cluster.RunState]string{cluster.WantRunning: "the start", cluster.WantStopped: "the stop"}[want]
	return a.jobAwait(ctx, o, op, what, result, cli.RunGoal{Want: want, Gen: gen}.Reached)
}

// jobAwaitGone waits until the container is gone; it may be already.
func (a *app) jobAwaitGone(ctx context.Context, o *order, op cluster.Operation) error {
	d, err := a.container(ctx, op.Object)
	gone := err != nil && cli.AsError(err).Code == cli.NotFound
	if err != nil && !gone {
		return err
	}
	if !gone {
		if err := a.awaitGone(ctx, o, &d.Container); err != nil {
			return err
		}
	}
	d.CTID = op.Object
	return a.done(o, d, "destroy", "is gone")
}
