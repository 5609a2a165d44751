package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

func (a *app) createCommand() *cobra.Command {
	var o order
	s := specFlags{spec: cluster.Spec{OnBoot: true}} // a node's reboot must not lose a service silently
	var on string
	var start bool
	cmd := &cobra.Command{
		Use:   "create CTID|NAME --ostemplate TEMPLATE [parameters]",
		Short: "make a container; the cluster chooses the node unless --on",
		Long: fmt.Sprintf(`make a container, stopped unless --start. A number is taken as its CTID (from %d); with a name the cluster picks a free CTID.
Without --on the cluster places it where most room is left. What is not given is --cpus 1 --ram 512M --diskspace 2G --onboot yes.`, cluster.MinCTID),
		Example: "  vzctl-cluster create web1 --ostemplate debian --ram 1G --ipadd 10.0.0.5/24 --start",
		Args:    operands("CTID|NAME"),
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			s.spec.Net.Addresses = s.add
			if err := checkCreate(args[0], on, s.spec); err != nil {
				return err
			}
			return a.create(cmd.Context(), &o, &s, args[0], on, start)
		}),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := cmd.Flags()
	s.registerCreate(f)
	f.StringVar(&on, "on", "", "the `NODE` to make it on")
	f.BoolVar(&start, "start", false, "start it, too")
	o.registerWait(f, orderWait)
	a.completeNodeFlag(cmd, "on")
	return cmd
}

// checkCreate finds what is wrong without asking the cluster.
func checkCreate(name, on string, s cluster.Spec) error {
	check := cluster.ValidateName
	if cluster.AllDigits(name) {
		check = cluster.ValidateCTID
	}
	if err := check(name); err != nil {
		return usage(err)
	}
	if on != "" {
		if err := cluster.ValidateNodeName(on); err != nil {
			return usage(err)
		}
	}
	return usage(s.WithDefaults().Validate())
}

func (a *app) create(ctx context.Context, o *order, s *specFlags, name, on string, start bool) error {
	body, err := json.Marshal(s.spec)
	if err != nil {
		return fmt.Errorf("encode parameters: %w", err)
	}
	req := &vzpb.CreateContainerRequest{OpKey: o.key(), Name: name, On: on, SpecJson: body, DryRun: o.dryRun}
	d, err := a.change(ctx, o, func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) (*vzpb.ContainerResponse, error) {
		return stub.CreateContainer(ctx, req, opts...)
	})
	if err != nil {
		return err
	}
	if o.dryRun {
		return a.result(d, "container %s would be made on %s; nothing was changed", cli.Title(&d.Container), d.Node)
	}
	if !o.detach || start {
		if d, err = a.await(ctx, o, d.CTID, "the creation of "+cli.Title(&d.Container), cli.Created); err != nil {
			return err
		}
	}
	if !start {
		return a.done(o, d, "creation on "+d.Node, "was made on "+d.Node)
	}
	so := order{op: o.key() + ".start", detach: o.detach, wait: o.wait}
	started, err := a.start(ctx, &so, d.CTID)
	if err != nil {
		return partly(err, fmt.Sprintf("container %s was made on %s but not started", cli.Title(&d.Container), d.Node), so.op)
	}
	return a.done(&so, started, "start", "was made and runs on "+started.Node)
}

// partly turns the error of a second step into PARTIAL, unless its outcome is not known.
func partly(err error, done, op string) error {
	e := *cli.AsError(err)
	if e.Code != cli.UnknownOutcome {
		e.Message, e.Code = done+": "+e.Message, cli.Partial
	}
	e.Op = op
	return &e
}
