package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// stopFlags say how a container is stopped.
type stopFlags struct {
	force bool
	grace time.Duration
}

func (s *stopFlags) register(f *pflag.FlagSet) {
	f.BoolVar(&s.force, "fast", false, "kill it at once, without asking its init")
	f.BoolVar(&s.force, "force", false, "the same as --fast")
	f.Var(&param{typ: "DURATION", set: func(v string) (err error) { s.grace, err = parseDuration(v); return err }}, "stop-timeout",
		"how long its init may take until it is killed (default: the cluster's)")
}

func (a *app) stopCommand() *cobra.Command {
	var o order
	var s stopFlags
	cmd := &cobra.Command{
		Use:   "stop CTID",
		Short: "stop a container: its init is asked, then killed",
		Args:  operands("CTID"),
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			d, err := a.stop(cmd.Context(), &o, s, args[0])
			if err != nil {
				return err
			}
			return a.done(&o, d, "stop", "is stopped")
		}),
		ValidArgsFunction: a.completeContainer,
	}
	s.register(cmd.Flags())
	o.registerWait(cmd.Flags(), orderWait)
	return cmd
}

// stop orders a stop and waits for it as o says.
func (a *app) stop(ctx context.Context, o *order, s stopFlags, name string) (containerDoc, error) {
	req := &vzpb.ContainerOpRequest{OpKey: o.key(), Name: name, Force: s.force, TimeoutNs: int64(s.grace), DryRun: o.dryRun}
	d, err := a.change(ctx, o, func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) (*vzpb.ContainerResponse, error) {
		return stub.StopContainer(ctx, req, opts...)
	})
	if err != nil || o.dryRun || o.detach {
		return d, err
	}
	goal := cli.RunGoal{Want: cluster.WantStopped, Gen: d.RunGen}
	return a.await(ctx, o, d.CTID, "the stop of "+cli.Title(&d.Container), goal.Reached)
}
