package main

import (
	"context"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

func (a *app) startCommand() *cobra.Command {
	var o order
	cmd := &cobra.Command{
		Use:   "start CTID",
		Short: "start a container",
		Args:  operands("CTID"),
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			d, err := a.start(cmd.Context(), &o, args[0])
			if err != nil {
				return err
			}
			return a.done(&o, d, "start", "runs on "+d.Node)
		}),
		ValidArgsFunction: a.completeContainer,
	}
	o.registerWait(cmd.Flags(), orderWait)
	return cmd
}

// start orders a start and waits for it as o says.
func (a *app) start(ctx context.Context, o *order, name string) (containerDoc, error) {
	req := &vzpb.ContainerOpRequest{OpKey: o.key(), Name: name, DryRun: o.dryRun}
	d, err := a.change(ctx, o, func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) (*vzpb.ContainerResponse, error) {
		return stub.StartContainer(ctx, req, opts...)
	})
	if err != nil || o.dryRun || o.detach {
		return d, err
	}
	goal := cli.RunGoal{Want: cluster.WantRunning, Gen: d.RunGen}
	return a.await(ctx, o, d.CTID, "the start of "+cli.Title(&d.Container), goal.Reached)
}
