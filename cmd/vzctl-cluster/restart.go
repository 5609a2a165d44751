package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
)

func (a *app) restartCommand() *cobra.Command {
	var o order
	var s stopFlags
	cmd := &cobra.Command{
		Use:               "restart CTID",
		Short:             "stop and start a container; one that does not run is started",
		Args:              operands("CTID"),
		RunE:              runE(func(cmd *cobra.Command, args []string) error { return a.restart(cmd.Context(), &o, s, args[0]) }),
		ValidArgsFunction: a.completeContainer,
	}
	s.register(cmd.Flags())
	o.registerWait(cmd.Flags(), orderWait)
	return cmd
}

func (a *app) restart(ctx context.Context, o *order, s stopFlags, name string) error {
	d, err := a.container(ctx, name)
	if err != nil {
		return err
	}
	stopping := d.State == cluster.ContainerRunning || d.Want == cluster.WantRunning
	if stopping {
		so := *o
		so.op, so.detach = o.key()+".stop", false // the start can only be ordered when the stop is done
		if d, err = a.stop(ctx, &so, s, d.CTID); err != nil {
			return err
		}
		if o.dryRun {
			return a.done(o, d, "restart", "")
		}
	}
	if d, err = a.start(ctx, o, d.CTID); err != nil {
		if stopping {
			return partly(err, fmt.Sprintf("container %s was stopped but not started", name), o.key())
		}
		return err
	}
	return a.done(o, d, "start", fmt.Sprintf("runs on %s (restarted)", cli.Line(d.Node)))
}
