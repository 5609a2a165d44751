package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// bench is one run of this program.
type bench struct {
	options
	dir    string
	report Report
}

// extra are the additional arguments of members.
func (b *bench) extra() []string {
	if b.profile == "" {
		return nil
	}
	return []string{"--profile", b.profile}
}

// inTurn calls f for each kind; the order is turned round from one round to the next.
func inTurn(round int, f func(kind string) error) error {
	order := slices.Clone(kinds)
	if round%2 == 1 {
		slices.Reverse(order)
	}
	for _, k := range order {
		if err := f(k); err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
	}
	return nil
}

// log measures the agreement alone. All members of both kinds live during the whole measurement; those that are not measured idle.
func (b *bench) log(ctx context.Context) (err error) {
	loads := make(map[string]*clients)
	for _, kind := range kinds {
		g, err := newGroup(ctx, kind, filepath.Join(b.dir, "log"), b.extra()...)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, g.close(), os.RemoveAll(filepath.Join(b.dir, "log", kind))) }()
		lead, err := g.leader(ctx)
		if err != nil {
			return err
		}
		loads[kind] = &clients{conn: lead.conn, size: b.size}
	}
	fmt.Printf("\nthe log alone: a compare-and-put of %d bytes, three members\n", b.size)
	steps, err := b.steps(ctx, func(ctx context.Context, kind string, n int, d time.Duration) (Figures, error) {
		return loads[kind].run(ctx, n, d)
	})
	b.report.Log = steps
	return err
}

// steps measures every number of clients on both kinds, some rounds each, and prints a table of the medians.
func (b *bench) steps(ctx context.Context, run func(context.Context, string, int, time.Duration) (Figures, error)) ([]Step, error) {
	var out []Step
	header(os.Stdout)
	for _, n := range b.clients {
		runs := make(map[string][]Figures)
		for round := range b.rounds {
			err := inTurn(round, func(kind string) error {
				f, err := run(ctx, kind, n, b.time)
				runs[kind] = append(runs[kind], f)
				return err
			})
			if err != nil {
				return out, fmt.Errorf("%d clients: %w", n, err)
			}
		}
		s := Step{Clients: n, Raft: middle(runs[raftKind]), Etcd: middle(runs[etcdKind]), Runs: runs}
		s.print(os.Stdout)
		out = append(out, s)
	}
	return out, nil
}
