package main

import (
	"context"
	"path"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// jobDoc is an operation in JSON: what is remembered of it, and the thing that it made or changed as it is now.
type jobDoc struct {
	cluster.Operation
	Container *containerDoc `json:"container,omitempty"`
	Migration *migrationDoc `json:"migration,omitempty"`
}

func (a *app) jobCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "job", Short: "find out about an operation by its key", Args: cobra.ArbitraryArgs, RunE: group}
	cmd.AddCommand(
		&cobra.Command{
			Use:   "show KEY",
			Short: "what became of an operation",
			Long:  "what became of the operation with this key. NOT_FOUND (exit code 3): the cluster has not done it so far.",
			Args:  operands("KEY"),
			RunE:  runE(func(cmd *cobra.Command, args []string) error { return a.jobShow(cmd.Context(), args[0]) }),
		},
		a.jobWaitCommand(),
	)
	return cmd
}

// operation asks for what is remembered under a key.
func (a *app) operation(ctx context.Context, key string) (cluster.Operation, error) {
	var op cluster.Operation
	if err := cluster.ValidateOpKey(key); err != nil {
		return op, usage(err)
	}
	var resp *vzpb.GetOperationResponse
	err := a.read(ctx, func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) (err error) {
		resp, err = stub.GetOperation(ctx, &vzpb.GetOperationRequest{OpKey: key}, opts...)
		return err
	})
	if err != nil {
		return op, err
	}
	return op, decode(resp.GetJson(), &op)
}

func (a *app) jobShow(ctx context.Context, key string) error {
	op, err := a.operation(ctx, key)
	if err != nil {
		return err
	}
	doc := jobDoc{Operation: op}
	state := ""
	switch kind(op) {
	case "Migrate":
		m, err := a.migrationByID(ctx, op.Object)
		if err != nil && cli.AsError(err).Code != cli.NotFound {
			return err
		}
		if err == nil {
			doc.Migration, state = &m, headline(m)
		}
	case "CreateContainer", "SetContainer", "StartContainer", "StopContainer", "DestroyContainer":
		c, err := a.container(ctx, op.Object)
		if err != nil && cli.AsError(err).Code != cli.NotFound {
			return err
		}
		if state = "the container is gone"; err == nil {
			doc.Container, state = &c, "container "+cli.Title(&c.Container)+" is "+string(c.State)+" on "+c.Node
		}
	}
	if a.json {
		return a.document(doc)
	}
	return a.pairs([][2]string{
		{"key", op.Key}, {"operation", kind(op)}, {"accepted", stamp(op.Created)}, {"object", op.Object}, {"now", state},
	})
}

// kind is the name of the operation's method.
func kind(op cluster.Operation) string { return path.Base(op.Method) }

// migrationByID asks for one migration.
func (a *app) migrationByID(ctx context.Context, id string) (migrationDoc, error) {
	docs, err := a.migrations(ctx, "", true)
	if err != nil {
		return migrationDoc{}, err
	}
	for _, d := range docs {
		if d.ID == id {
			return d, nil
		}
	}
	return migrationDoc{}, cli.Errorf(cli.NotFound, "no migration %q", id)
}
