package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

const migrationStandard = "id,ctid,from,to,mode,phase,frozen,moved,took,created,reason"

func (a *app) migrationsCommand() *cobra.Command {
	var all bool
	cmd := a.migrationList("migrations [ID]", "list the migrations that are under way, or show one", optional("ID"),
		func(ctx context.Context, args []string) ([]migrationDoc, error) {
			if len(args) == 0 {
				return a.migrations(ctx, "", all)
			}
			d, err := a.migrationByID(ctx, args[0])
			return []migrationDoc{d}, err
		})
	cmd.Flags().BoolVarP(&all, "all", "a", false, "finished ones, too")
	return cmd
}

func (a *app) historyCommand() *cobra.Command {
	cmd := a.migrationList("history [CTID]", "list all migrations, of one container or of all", optional("CTID"),
		func(ctx context.Context, args []string) ([]migrationDoc, error) {
			return a.migrations(ctx, strings.Join(args, ""), true)
		})
	cmd.ValidArgsFunction = a.completeContainer
	return cmd
}

// migrationList makes a command that lists the migrations that get returns.
func (a *app) migrationList(use, short string, args cobra.PositionalArgs, get func(ctx context.Context, args []string) ([]migrationDoc, error)) *cobra.Command {
	var l listFlags
	cmd := &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			if done, err := checkList(a, &l, migrationColumns(), migrationStandard); done || err != nil {
				return err
			}
			docs, err := get(cmd.Context(), args)
			if err != nil {
				return err
			}
			return table(a, &l, migrationColumns(), migrationStandard, docs)
		}),
	}
	l.register(cmd.Flags())
	return cmd
}

// migrations asks for the migrations of a container, or of all; without all only for those under way.
func (a *app) migrations(ctx context.Context, name string, all bool) ([]migrationDoc, error) {
	var resp *vzpb.ListMigrationsResponse
	err := a.read(ctx, func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) (err error) {
		resp, err = stub.ListMigrations(ctx, &vzpb.ListMigrationsRequest{Name: name, All: all}, opts...)
		return err
	})
	if err != nil {
		return nil, err
	}
	docs := make([]migrationDoc, 0, len(resp.GetMigrations()))
	for _, r := range resp.GetMigrations() {
		d, err := migrationOf(r)
		if err != nil {
			return nil, err
		}
		docs = append(docs, d)
	}
	return docs, nil
}

// elapsed is how long a migration took, or has been taking by now: an open one's record may not have changed for a while.
func elapsed(m cluster.Migration, now time.Time) time.Duration {
	if m.Closed {
		return m.Changed.Sub(m.Created)
	}
	return max(now.Sub(m.Created), 0)
}

func migrationColumns() []cli.Column[migrationDoc] {
	type d = migrationDoc
	text := func(name, title, help string, f func(d) string) cli.Column[d] {
		return cli.Column[d]{Name: name, Title: title, Help: help, Value: func(r d) any { return f(r) }}
	}
	took := func(name, title, help string, f func(d) time.Duration) cli.Column[d] {
		return cli.Column[d]{Name: name, Title: title, Help: help, Right: true, Value: func(r d) any { return int64(f(r)) },
			Text: func(r d) string {
				if f(r) == 0 {
					return ""
				}
				return millis(f(r))
			}}
	}
	number := func(s string) any { n, _ := cli.ParseCount(s); return n }
	return []cli.Column[d]{
		{Name: "id", Title: "ID", Help: "number of the migration", Right: true, Value: func(r d) any { return number(r.ID) }},
		{Name: "ctid", Title: "CTID", Help: "the container", Right: true, Value: func(r d) any { return number(r.CTID) }},
		text("from", "FROM", "the node it left", func(r d) string { return r.Source }),
		text("to", "TO", "the node it was to go to", func(r d) string { return r.Target }),
		text("mode", "MODE", "auto or stopcopy", func(r d) string { return r.Mode }),
		text("phase", "PHASE", "where it stands: done or failed at the end", func(r d) string { return string(r.Phase) }),
		took("frozen", "FROZEN", "how long the container was frozen; ns in JSON", func(r d) time.Duration { return r.Stats.Frozen }),
		{Name: "moved", Title: "MOVED", Help: "bytes of files and memory", Right: true,
			Value: func(r d) any { return r.Stats.RootfsBytes + r.Stats.ImageBytes },
			Text:  func(r d) string { return cli.HumanSize(r.Stats.RootfsBytes + r.Stats.ImageBytes) }},
		took("took", "TOOK", "from the order to its end, or to now; ns in JSON", func(r d) time.Duration { return elapsed(r.Migration, time.Now()) }),
		{Name: "closed", Title: "CLOSED", Help: "both nodes have cleaned up", Value: func(r d) any { return r.Closed }, Text: func(r d) string { return yesNo(r.Closed) }},
		{Name: "rounds", Title: "ROUNDS", Help: "rounds of file copying", Right: true, Value: func(r d) any { return int64(r.Stats.Rounds) }},
		{Name: "epoch", Title: "EPOCH", Help: "of the container when it was planned", Right: true, Value: func(r d) any { return uint64(r.Epoch) }},
		text("created", "CREATED", "when it was ordered", func(r d) string { return stamp(r.Created) }),
		text("changed", "CHANGED", "when its record changed last", func(r d) string { return stamp(r.Changed) }),
		text("source_step", "SOURCE_STEP", "what the source reported last", func(r d) string { return fmt.Sprint(r.From.Step) }),
		text("target_step", "TARGET_STEP", "what the target reported last", func(r d) string { return fmt.Sprint(r.To.Step) }),
		text("reason", "REASON", "why it was aborted", func(r d) string { return r.Reason }),
	}
}
