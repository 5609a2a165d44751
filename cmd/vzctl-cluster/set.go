package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

func (a *app) setCommand() *cobra.Command {
	var o order
	var s specFlags
	cmd := &cobra.Command{
		Use:               "set CTID parameters",
		Short:             "change a container's parameters; they are kept",
		Long:              "change a container's parameters. They are kept (vzctl's --save is not needed), and the node applies limits at once;\naddresses, host name and init count from the next start.",
		Example:           "  vzctl-cluster set web1 --ram 2G --cpuunits 2000",
		Args:              operands("CTID"),
		RunE:              runE(func(cmd *cobra.Command, args []string) error { return a.set(cmd, &o, &s, args[0]) }),
		ValidArgsFunction: a.completeContainer,
	}
	s.registerSet(cmd.Flags())
	cmd.Flags().Bool("save", true, "taken for vzctl's sake: parameters are always kept")
	_ = cmd.Flags().MarkHidden("save") // fails only for a flag that does not exist
	o.register(cmd.Flags())
	return cmd
}

func (a *app) set(cmd *cobra.Command, o *order, s *specFlags, name string) error {
	fields := slices.Clone(s.fields)
	if len(s.add)+len(s.del) > 0 {
		fields = append(fields, cluster.FieldAddresses)
	}
	if len(fields) == 0 {
		return hinted(cmd, "no parameter to set")
	}
	ctx := cmd.Context()
	d, err := a.container(ctx, name)
	if err != nil {
		return err
	}
	if s.spec.Net.Addresses, err = s.addresses(d.Spec.Net.Addresses); err != nil {
		return cli.Errorf(cli.Conflict, "container %s has %v", cli.Title(&d.Container), err)
	}
	next, err := d.Spec.Take(s.spec, fields)
	if err == nil {
		err = next.Validate()
	}
	if err != nil {
		return usage(err)
	}
	body, err := json.Marshal(s.spec)
	if err != nil {
		return fmt.Errorf("encode parameters: %w", err)
	}
	req := &vzpb.SetContainerRequest{OpKey: o.key(), Name: d.CTID, SpecJson: body, Fields: fields}
	d, err = a.change(ctx, o, func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) (*vzpb.ContainerResponse, error) {
		return stub.SetContainer(ctx, req, opts...)
	})
	if err != nil {
		return err
	}
	return a.result(d, "container %s was changed", cli.Title(&d.Container))
}
