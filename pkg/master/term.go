package master

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vzcluster/vzcluster/pkg/store"
)

// term is one leadership: what exists only while this master leads. Nothing of it outlives ctx.
type term struct {
	m      *Master
	number uint64
	since  time.Time
	ctx    context.Context
	live   *live
	resign func(error) // ends the term
}

// lead is what this master does while it leads. Any loop that fails gives the leadership up: nothing leads by half.
func (m *Master) lead(ctx context.Context, number uint64) error {
	now := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	resigned := make(chan error, 1)
	resign := func(err error) {
		select {
		case resigned <- err:
		default:
		}
	}
	t := &term{m: m, number: number, since: now, ctx: ctx, resign: resign, live: newLive(now, m.cfg.Leases.silent()/2)}
	slog.Info("leading", "master", m.cfg.ID, "term", number)
	if err := m.enroll(ctx); err != nil {
		return fmt.Errorf("note the own address: %w", err)
	}
	m.term.Store(t)
	defer func() {
		m.term.CompareAndSwap(t, nil)
		slog.Info("no longer leading", "master", m.cfg.ID, "term", number)
	}()
	g.Go(func() error { return t.follow(ctx) })
	for name, p := range map[string]plan{"liveness": t.liveness, "containers": t.containers, "migrations": t.migrations, "adoption": t.adoptions} {
		g.Go(func() error { return t.loop(ctx, name, p) })
	}
	g.Go(func() error { return t.every(ctx, "garbage", t.garbage) })
	g.Go(func() error { return t.tend(ctx) })
	g.Go(func() error { return t.keepFormat(ctx) })
	g.Go(func() error {
		select {
		case err := <-resigned:
			return err
		case <-ctx.Done():
			return nil
		}
	})
	return g.Wait()
}

// follow wakes everybody after each change of the records.
func (t *term) follow(ctx context.Context) error {
	for after := store.Rev(0); ; {
		st, err := t.m.store.Wait(ctx, after)
		if err != nil {
			return err
		}
		after = st.Rev()
		t.live.bump()
	}
}
