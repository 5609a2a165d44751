package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vzcluster/vzcluster/e2e/harness"
)

const (
	// warmUp is how long the client runs before a move, so that its connection's timers have settled.
	warmUp = 700 * time.Millisecond
	// afterwards is how long it runs after a move: longer than the first retransmissions of a connection that has lost frames.
	afterwards = 1500 * time.Millisecond
	// maxFailures in a row end a way's part of a size.
	maxFailures = 3
)

// bench runs the ways against each other on one lab.
type bench struct {
	c    *harness.Cluster
	ways []way
	runs int
	log  io.Writer // progress, for people
}

// row is one way's part of one size.
type row struct {
	way      way
	digest   string
	moves    []Move
	failures int // in a row
	trouble  []string
}

// size measures all ways with so much data. An error means that the measurement could not be made; what a way did wrong is in the
// result.
func (b *bench) size(ctx context.Context, mib int) (r Result, err error) {
	var rows []*row
	for _, w := range b.ways {
		defer func() { err = errors.Join(err, w.destroy(context.WithoutCancel(ctx))) }()
		t := &row{way: w}
		if err := b.fresh(ctx, t, mib); err != nil {
			return r, err
		}
		rows = append(rows, t)
	}
	for i := range b.runs {
		for _, t := range rows {
			if err := b.turn(ctx, t, mib, i+1); err != nil {
				return r, err
			}
		}
		slices.Reverse(rows) // nobody always goes first
	}
	r = Result{MiB: mib, Load: load(), Moves: map[string][]Move{}, Trouble: map[string][]string{}}
	for _, t := range rows {
		r.Moves[t.way.name()], r.Trouble[t.way.name()] = t.moves, t.trouble
	}
	r.Ours, r.Classic = summarize(r.Moves[oursName]), summarize(r.Moves[classicName])
	return r, nil
}

// turn is one move, and a new container if the move left none.
func (b *bench) turn(ctx context.Context, t *row, mib, number int) error {
	if t.failures == maxFailures {
		return nil
	}
	// Images at both ends, the restored copy, and a little of everybody's.
	if err := warmMemory(3*mib + 256); err != nil {
		return err
	}
	m := b.measure(ctx, t.way, t.digest)
	t.moves = append(t.moves, m)
	fmt.Fprintf(b.log, "%d MiB: %s: move %d/%d: %s\n", mib, t.way.name(), number, b.runs, outcome(m))
	t.failures++
	if m.good() {
		t.failures = 0
	} else {
		t.trouble = append(t.trouble, fmt.Sprintf("move %d: %s", number, outcome(m)))
	}
	alive, err := t.way.settle(ctx)
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		t.trouble = append(t.trouble, fmt.Sprintf("after move %d: %v", number, err))
	}
	if alive || t.failures == maxFailures {
		return nil
	}
	if err := t.way.destroy(ctx); err != nil {
		return fmt.Errorf("%s: destroy what the move left: %w", t.way.name(), err)
	}
	return b.fresh(ctx, t, mib)
}

// outcome is a move in a line.
func outcome(m Move) string {
	if !m.good() {
		return fmt.Sprintf("FAILED: lost increments: %d; %s", m.Lost, m.Err)
	}
	return fmt.Sprintf("gap %s, frozen %s, total %s", millis(m.Gap), millis(m.Frozen), millis(m.Total))
}

// fresh makes and fills a container and takes the digest of its data.
func (b *bench) fresh(ctx context.Context, t *row, mib int) (err error) {
	fmt.Fprintf(b.log, "%d MiB: %s: create and fill\n", mib, t.way.name())
	if err := t.way.create(ctx, mib); err != nil {
		return fmt.Errorf("%s: create: %w", t.way.name(), err)
	}
	redis := b.c.RedisAt(t.way.address())
	if err := redis.Fill(ctx, mib); err != nil {
		return fmt.Errorf("%s: %w", t.way.name(), err)
	}
	t.digest, err = redis.Digest(ctx)
	return err
}

// measure moves a container to the other host under a client's eyes. Everything that goes wrong is in the Move.
func (b *bench) measure(ctx context.Context, w way, digest string) Move {
	redis := b.c.RedisAt(w.address())
	client, err := redis.Probe(ctx)
	if err != nil {
		return Move{Err: oneLine(err)}
	}
	defer client.Kill()
	pause(ctx, warmUp)
	from := w.host()
	before, errBefore := b.sent(ctx, from)
	start := time.Now()
	m, errMove := w.move(ctx, other(from))
	m.Total = time.Since(start)
	after, errAfter := b.sent(ctx, from)
	m.Wire = after - min(before, after)
	pause(ctx, afterwards)
	seen, err := client.Stop()
	m.Gap, m.Lost = seen.Longest(), seen.Lost-seen.Repeated
	if err = errors.Join(errMove, err, errBefore, errAfter); err == nil {
		err = sameData(ctx, redis, digest)
	}
	m.Err = oneLine(err)
	return m
}

// sameData compares the digest of all data, less the client's counter, with what it was when it was filled in.
func sameData(ctx context.Context, r harness.Redis, want string) error {
	got, err := r.DigestWithoutCounter(ctx)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("the digest was %s and is %s", want, got)
	}
	return nil
}

// oneLine is an error's text for a table; empty for none.
func oneLine(err error) string {
	if err == nil {
		return ""
	}
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' }), "; ")
}

// pause lets the client run on.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// sent is how much has left a host's link since it is up, in bytes.
func (b *bench) sent(ctx context.Context, host string) (uint64, error) {
	out, err := b.c.Lab.Exec(ctx, host, "cat", "/sys/class/net/eth0/statistics/tx_bytes")
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(out)), 10, 64)
}
