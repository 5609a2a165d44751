package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

func (a *app) destroyCommand() *cobra.Command {
	var o order
	var force bool
	cmd := &cobra.Command{
		Use:     "destroy CTID",
		Aliases: []string{"delete"},
		Short:   "take a container and all its files away",
		Long:    "take a container and all its files away. On a terminal you are asked first, unless --yes; a script is not asked.",
		Args:    operands("CTID"),
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			return a.destroy(cmd.Context(), &o, args[0], force)
		}),
		ValidArgsFunction: a.completeContainer,
	}
	cmd.Flags().BoolVar(&force, "force", false, "also when it runs")
	o.registerWait(cmd.Flags(), orderWait)
	return cmd
}

func (a *app) destroy(ctx context.Context, o *order, name string, force bool) error {
	if !a.yes && !o.dryRun && isTerminal(a.in) && isTerminal(a.err) {
		d, err := a.container(ctx, name)
		if err != nil {
			return err
		}
		if !a.confirm(fmt.Sprintf("Take container %s on %s and all its files away? [y/N] ", cli.Title(&d.Container), d.Node)) {
			return cli.Errorf(cli.Interrupted, "not confirmed; nothing was changed")
		}
		name = d.CTID
	}
	req := &vzpb.ContainerOpRequest{OpKey: o.key(), Name: name, Force: force, DryRun: o.dryRun}
	d, err := a.change(ctx, o, func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) (*vzpb.ContainerResponse, error) {
		return stub.DestroyContainer(ctx, req, opts...)
	})
	if err != nil && a.didDestroy(ctx, o, err) {
		return a.result(map[string]any{"name": name, "op": o.key()}, "container %s is gone", name)
	}
	if err != nil {
		return err
	}
	if !o.dryRun && !o.detach {
		if err := a.awaitGone(ctx, o, &d.Container); err != nil {
			return err
		}
	}
	return a.done(o, d, "destroy", "is gone")
}

// didDestroy finds out about a NOT_FOUND: when the answer to the first attempt was lost, the container may be gone because of it.
func (a *app) didDestroy(ctx context.Context, o *order, err error) bool {
	if cli.AsError(err).Code != cli.NotFound {
		return false
	}
	_, unknown := a.operation(ctx, o.key())
	return unknown == nil
}

// awaitGone waits until the container's record is gone. A new container with its number is not it.
func (a *app) awaitGone(ctx context.Context, o *order, c *cluster.Container) error {
	_, err := a.await(ctx, o, c.CTID, "the destruction of "+cli.Title(c), func(now *cluster.Container) (bool, error) {
		return !now.Created.Equal(c.Created), nil
	})
	if err != nil && cli.AsError(err).Code == cli.NotFound {
		return nil
	}
	return err
}

// confirm asks on the terminal.
func (a *app) confirm(question string) bool {
	fmt.Fprint(a.err, cli.Line(question)+" ")
	answer, _ := bufio.NewReader(a.in).ReadString('\n') // an unreadable answer is not a yes
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true
	}
	return false
}
