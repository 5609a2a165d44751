package main

import (
	"context"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// templateDoc is a template in JSON.
type templateDoc struct {
	cluster.Template
	Op string `json:"op,omitempty"`
}

const templateStandard = "name,size,digest,created"

func (a *app) templateCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "template", Short: "what containers are made from", Args: cobra.ArbitraryArgs, RunE: group}
	cmd.AddCommand(a.templateListCommand(), a.templateImportCommand())
	return cmd
}

func (a *app) templateListCommand() *cobra.Command {
	var l listFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list the templates",
		Args:  operands(),
		RunE: runE(func(cmd *cobra.Command, _ []string) error {
			if done, err := checkList(a, &l, templateColumns(), templateStandard); done || err != nil {
				return err
			}
			docs, err := a.templates(cmd.Context())
			if err != nil {
				return err
			}
			return table(a, &l, templateColumns(), templateStandard, docs)
		}),
	}
	l.register(cmd.Flags())
	return cmd
}

func (a *app) templates(ctx context.Context) ([]templateDoc, error) {
	var resp *vzpb.ListTemplatesResponse
	err := a.read(ctx, func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) (err error) {
		resp, err = stub.ListTemplates(ctx, &vzpb.ListTemplatesRequest{}, opts...)
		return err
	})
	if err != nil {
		return nil, err
	}
	docs := make([]templateDoc, len(resp.GetTemplates()))
	for i, r := range resp.GetTemplates() {
		if err := decode(r.GetJson(), &docs[i].Template); err != nil {
			return nil, err
		}
	}
	return docs, nil
}

func templateColumns() []cli.Column[templateDoc] {
	type d = templateDoc
	return []cli.Column[d]{
		{Name: "name", Title: "TEMPLATE", Help: "name", Value: func(r d) any { return r.Name }},
		{Name: "size", Title: "SIZE", Help: "size of the tar", Right: true, Value: func(r d) any { return r.Size }, Text: func(r d) string { return cli.HumanSize(r.Size) }},
		{Name: "digest", Title: "DIGEST", Help: "blake3 of the tar", Value: func(r d) any { return r.Digest }},
		{Name: "created", Title: "CREATED", Help: "when it was imported", Value: func(r d) any { return stamp(r.Created) }},
	}
}
