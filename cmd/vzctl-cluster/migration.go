package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// migrationDoc is a migration in JSON: its record, and what is known besides.
type migrationDoc struct {
	cluster.Migration
	Progress *progressDoc `json:"progress,omitempty"`
	Op       string       `json:"op,omitempty"`
	DryRun   bool         `json:"dry_run,omitempty"`
	Detached bool         `json:"detached,omitempty"`
}

// progressDoc is the live progress of the long part of a migration.
type progressDoc struct {
	What       string `json:"what"`
	DoneBytes  uint64 `json:"done_bytes"`
	TotalBytes uint64 `json:"total_bytes"`
	DoneFiles  uint64 `json:"done_files"`
	TotalFiles uint64 `json:"total_files"`
	RateBPS    uint64 `json:"rate_bps"`
}

// migrationOf reads an answer.
func migrationOf(r *vzpb.MigrationResponse) (migrationDoc, error) {
	var d migrationDoc
	if err := decode(r.GetJson(), &d.Migration); err != nil {
		return d, err
	}
	if p := r.GetProgress(); p != nil {
		d.Progress = &progressDoc{p.GetWhat(), p.GetDoneBytes(), p.GetTotalBytes(), p.GetDoneFiles(), p.GetTotalFiles(), p.GetRateBps()}
	}
	return d, nil
}

// follow watches a migration until it is closed, shows it, and says how it ended.
func (a *app) follow(ctx context.Context, o *order, id string) (migrationDoc, error) {
	c, err := a.cluster()
	if err != nil {
		return migrationDoc{}, err
	}
	wctx, cancel := o.limit(ctx)
	defer cancel()
	show := a.newProgress()
	defer show.close()
	var last migrationDoc
	open := func(ctx context.Context, stub vzpb.ClusterClient) (cli.Stream[*vzpb.MigrationResponse], error) {
		return stub.WatchMigration(ctx, &vzpb.WatchMigrationRequest{Id: id})
	}
	err = cli.Watch(wctx, c, a.window(mutateTimeout), open, func(r *vzpb.MigrationResponse) (bool, error) {
		d, err := migrationOf(r)
		if err != nil {
			return false, err
		}
		last = d
		show.update(d)
		return d.Closed, nil
	})
	last.Op = o.key()
	if err := o.lost(ctx, err, "migration "+id); err != nil {
		return last, err
	}
	return last, outcome(last)
}

// outcome says how a closed migration ended: nil if the container was moved.
func outcome(d migrationDoc) error {
	if d.Phase == cluster.PhaseDone {
		return nil
	}
	e := cli.Errorf(cli.Conflict, "migration %s of %s to %s was aborted; the container runs on at %s: %s", d.ID, d.CTID, d.Target, d.Source, why(d.Reason))
	e.Op, e.Retryable, e.Details = d.Op, true, d
	return e
}

func why(reason string) string {
	if reason == "" {
		return "no reason was given"
	}
	return reason
}

// stageRow is one line of the table of stages.
type stageRow struct {
	side string
	cluster.StageTime
}

// printStages prints where the time of a migration went.
func (a *app) printStages(d migrationDoc) error {
	var rows []stageRow
	for _, s := range d.From.Stages {
		rows = append(rows, stageRow{d.Source, s})
	}
	for _, s := range d.To.Stages {
		rows = append(rows, stageRow{d.Target, s})
	}
	slices.SortStableFunc(rows, func(x, y stageRow) int { return x.Start.Compare(y.Start) })
	if len(rows) > 0 {
		begin := rows[0].Start
		err := cli.Render(a.out, []cli.Column[stageRow]{
			{Title: "STAGE", Value: func(r stageRow) any { return r.Stage }},
			{Title: "NODE", Value: func(r stageRow) any { return r.side }},
			{Title: "AT", Right: true, Value: func(r stageRow) any { return millis(r.Start.Sub(begin)) }},
			{Title: "TOOK", Right: true, Value: func(r stageRow) any { return millis(r.Duration) }},
		}, rows, true)
		if err != nil {
			return err
		}
	}
	s := d.Stats
	return a.pairs([][2]string{
		{"frozen", millis(s.Frozen)},
		{"total", millis(d.Changed.Sub(d.Created))},
		{"files", fmt.Sprintf("%s in %d files, %d rounds, %s of it under freeze", cli.HumanSize(s.RootfsBytes), s.RootfsFiles, s.Rounds, cli.HumanSize(s.FinalBytes))},
		{"images", cli.HumanSize(s.ImageBytes)},
	})
}

// millis writes a duration in milliseconds with one decimal: stages are compared with each other.
func millis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
