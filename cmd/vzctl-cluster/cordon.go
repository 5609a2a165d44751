package main

import (
	"context"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// cordonCommand makes node cordon or node uncordon.
func (a *app) cordonCommand(cordon bool) *cobra.Command {
	var o order
	var reason string
	cmd := &cobra.Command{
		Use:               "uncordon NODE",
		Short:             "let a node take new containers again",
		Args:              operands("NODE"),
		ValidArgsFunction: a.completeNode,
	}
	if cordon {
		cmd.Use, cmd.Short = "cordon NODE", "let a node take no new containers; what runs there stays"
		cmd.Flags().StringVarP(&reason, "reason", "m", "", "why, for others to read, `TEXT`")
	}
	cmd.RunE = runE(func(cmd *cobra.Command, args []string) error {
		var resp *vzpb.NodeResponse
		req := &vzpb.CordonNodeRequest{OpKey: o.key(), Name: args[0], Cordon: cordon, Reason: reason}
		err := a.mutate(cmd.Context(), o.key(), func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) (err error) {
			resp, err = stub.CordonNode(ctx, req, opts...)
			return err
		})
		if err != nil {
			return err
		}
		d, err := nodeOf(resp)
		if err != nil {
			return err
		}
		d.Op = o.key()
		if cordon {
			return a.result(d, "node %s is cordoned: it takes no new containers", d.Name)
		}
		return a.result(d, "node %s takes new containers again", d.Name)
	})
	o.register(cmd.Flags())
	return cmd
}
