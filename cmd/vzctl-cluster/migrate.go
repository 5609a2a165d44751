package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// migrateFlags say where and how.
type migrateFlags struct {
	to      string
	mode    string
	bwlimit uint64 // bytes per second
}

func (a *app) migrateCommand() *cobra.Command {
	var o order
	m := migrateFlags{mode: cluster.ModeAuto}
	cmd := &cobra.Command{
		Use:   "migrate CTID[,CTID...] --to NODE",
		Short: "move running containers to another node, live",
		Long: `move running containers to another node, live: processes, memory and open connections go along.
Until the container is committed to the new node any trouble ends with it running on where it was (exit code 4).
On a terminal a bar shows how far it is; else one line on stderr for each phase. At the end: what took how long, and how long
the container was frozen. Ctrl-C detaches, the migration goes on. Several containers are moved one after the other.`,
		Example: "  vzctl-cluster migrate web1 --to n2\n  vzctl-cluster migrate 101,102 --to n2 --bwlimit 50M",
		Args:    operands("CTID"),
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			names := strings.Split(args[0], ",")
			if slices.Contains(names, "") {
				return hinted(cmd, "an empty CTID in the list")
			}
			if len(names) > 1 {
				return a.migrateAll(cmd.Context(), &o, m, names)
			}
			d, err := a.migrate(cmd.Context(), &o, m, names[0])
			if err != nil {
				return err
			}
			return a.migrated(d)
		}),
		ValidArgsFunction: a.completeContainer,
	}
	f := cmd.Flags()
	f.StringVar(&m.to, "to", "", "the `NODE` to move to")
	f.Var(&param{typ: "auto|stopcopy", set: m.setMode}, "mode", "auto, or stopcopy: memory is copied while frozen (default auto)")
	f.Var(&param{typ: "SIZE", set: func(v string) (err error) { m.bwlimit, err = cli.ParseSize(v, cli.Byte); return err }}, "bwlimit",
		"at most so many bytes per second; 0: no limit")
	o.registerWait(f, 0)
	_ = cmd.MarkFlagRequired("to") // fails only for a flag that does not exist
	a.completeNodeFlag(cmd, "to")
	return cmd
}

func (m *migrateFlags) setMode(v string) error {
	if v != cluster.ModeAuto && v != cluster.ModeStopCopy {
		return errors.New("not auto or stopcopy")
	}
	m.mode = v
	return nil
}

// migrate orders one migration and follows it as o says.
func (a *app) migrate(ctx context.Context, o *order, m migrateFlags, name string) (migrationDoc, error) {
	req := &vzpb.MigrateRequest{OpKey: o.key(), Name: name, To: m.to, Mode: m.mode, DryRun: o.dryRun, Bwlimit: m.bwlimit}
	var resp *vzpb.MigrationResponse
	err := a.mutate(ctx, o.key(), func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) (err error) {
		resp, err = stub.Migrate(ctx, req, opts...)
		return err
	})
	if err != nil {
		return migrationDoc{}, err
	}
	d, err := migrationOf(resp)
	if err != nil {
		return d, err
	}
	d.Op, d.DryRun, d.Detached = o.key(), o.dryRun, o.detach && !o.dryRun
	if d.DryRun || d.Detached {
		return d, nil
	}
	return a.follow(ctx, o, d.ID)
}

// migrated prints the result of one migration.
func (a *app) migrated(d migrationDoc) error {
	if a.json {
		return a.document(d)
	}
	if err := a.migratedLine(d); err != nil || d.DryRun || d.Detached {
		return err
	}
	return a.printStages(d)
}

func (a *app) migratedLine(d migrationDoc) error {
	text := fmt.Sprintf("container %s runs on %s", d.CTID, d.Target)
	switch {
	case d.DryRun:
		text = fmt.Sprintf("container %s would be moved from %s to %s (%s); nothing was changed", d.CTID, d.Source, d.Target, d.Mode)
	case d.Detached:
		text = fmt.Sprintf("migration %s of container %s to %s has begun; follow it with 'vzctl-cluster job wait %s'", d.ID, d.CTID, d.Target, d.Op)
	}
	_, err := fmt.Fprintln(a.out, cli.Line(text))
	return err
}

// notMoved is the entry of one container in the document of a list that was not done as a whole.
type notMoved struct {
	Container string   `json:"container"`
	Code      cli.Code `json:"code"`
	Message   string   `json:"message"`
	Op        string   `json:"op,omitempty"`
}

// migrateAll moves containers one after the other. One that can't be moved doesn't stop the others.
func (a *app) migrateAll(ctx context.Context, o *order, m migrateFlags, names []string) error {
	moved, failed := []migrationDoc{}, []notMoved{}
	var firstErr error
	for i, name := range names {
		one := *o
		one.op = fmt.Sprintf("%s.%d", o.key(), i+1) // each its own key, and the same ones when repeated with --op-key
		d, err := a.migrate(ctx, &one, m, name)
		if err == nil {
			moved = append(moved, d)
			if !a.json {
				err = a.migrated(d)
			}
			if err != nil {
				return err
			}
			continue
		}
		e := cli.AsError(err)
		failed = append(failed, notMoved{name, e.Code, e.Error(), one.op})
		if firstErr == nil {
			firstErr = err
		}
		if e.Code == cli.UnknownOutcome || ctx.Err() != nil {
			break // detached, or the masters are gone: the rest has not been asked for
		}
	}
	doc := map[string]any{"migrations": moved, "failed": failed, "op": o.key()}
	switch {
	case firstErr == nil && a.json:
		return a.document(doc)
	case firstErr == nil:
		return nil
	case len(moved) == 0 && len(failed) == 1:
		return firstErr
	}
	return a.partlyMoved(o, moved, failed, len(names), doc)
}

// partlyMoved is the error of a list of which not all, or none, was moved.
func (a *app) partlyMoved(o *order, moved []migrationDoc, failed []notMoved, n int, doc map[string]any) error {
	var parts []string
	for _, f := range failed {
		parts = append(parts, fmt.Sprintf("%s: %s: %s", f.Container, f.Code, f.Message))
	}
	code := cli.Partial
	if len(moved) == 0 {
		code = failed[0].Code
	}
	e := cli.Errorf(code, "%d of %d containers were moved; %s", len(moved), n, strings.Join(parts, "; "))
	e.Op, e.Details = o.key(), doc
	return e
}
