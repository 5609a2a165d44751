package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// orderWait is how long start, stop, create and destroy are waited for by default.
const orderWait = 10 * time.Minute

// order holds the flags of a command that changes something.
type order struct {
	op     string // operation key
	detach bool
	dryRun bool
	wait   time.Duration // 0: for ever
}

// register adds the flags that all changes have.
func (o *order) register(f *pflag.FlagSet) {
	f.Var(&param{typ: "KEY", set: o.setOp}, "op-key",
		"repeat the operation with this key instead of making a new one: what was done is not done again")
}

// registerWait adds the flags of changes whose result is waited for.
func (o *order) registerWait(f *pflag.FlagSet, def time.Duration) {
	o.register(f)
	o.wait = def
	f.BoolVar(&o.detach, "detach", false, "don't wait for the result")
	text := "how long to wait for the result (default 10m); after it the order goes on"
	if def == 0 {
		text = "how long to wait for the result (default: until it is there); after it the order goes on"
	}
	f.Var(&param{typ: "DURATION", set: func(s string) (err error) { o.wait, err = parseDuration(s); return err }}, "wait", text)
	f.BoolVar(&o.dryRun, "dry-run", false, "check everything, change nothing")
}

func (o *order) setOp(s string) error {
	if err := cluster.ValidateOpKey(s); err != nil {
		return err
	}
	o.op = s
	return nil
}

// key returns the operation's key, made at the first use.
func (o *order) key() string {
	if o.op == "" {
		o.op = newKey()
	}
	return o.op
}

// newKey makes a random UUID.
func newKey() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// parseDuration reads a duration above 0, such as 90s or 5m.
func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, errors.New("not a duration such as 90s or 5m")
	}
	return d, nil
}

// await watches a container until the rule is content, and returns the last record. what says in words what is being waited for.
func (a *app) await(ctx context.Context, o *order, name, what string, rule func(*cluster.Container) (bool, error)) (containerDoc, error) {
	c, err := a.cluster()
	if err != nil {
		return containerDoc{}, err
	}
	wctx, cancel := o.limit(ctx)
	defer cancel()
	var last containerDoc
	open := func(ctx context.Context, stub vzpb.ClusterClient) (cli.Stream[*vzpb.ContainerResponse], error) {
		return stub.WatchContainer(ctx, &vzpb.WatchContainerRequest{Name: name})
	}
	err = cli.Watch(wctx, c, a.window(mutateTimeout), open, func(r *vzpb.ContainerResponse) (bool, error) {
		doc, err := containerOf(r)
		if err != nil {
			return false, err
		}
		last = doc
		return rule(&last.Container)
	})
	return last, o.lost(ctx, err, what)
}

// limit returns a context that ends with the time to wait.
func (o *order) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if o.wait <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, o.wait)
}

// lost gives an error of a wait its meaning: the order was accepted, so whatever ended the wait, the outcome is not known.
func (o *order) lost(ctx context.Context, err error, what string) error {
	var e *cli.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		e.Op = o.key()
		return e
	case ctx.Err() != nil:
		return reattach(o.key(), "detached, "+what+" goes on")
	case errors.Is(err, context.DeadlineExceeded):
		return reattach(o.key(), fmt.Sprintf("%s is not finished after %v and goes on", what, o.wait))
	case errors.Is(err, cli.ErrWatchLost):
		return reattach(o.key(), fmt.Sprintf("%s was accepted, then no master answered (%v)", what, err))
	}
	return err
}

// reattach is the error for an order that was accepted and is not waited for any longer.
func reattach(op, why string) error {
	return &cli.Error{Code: cli.UnknownOutcome, Op: op, Retryable: true,
		Message: fmt.Sprintf("%s; operation %s: follow it with 'vzctl-cluster job wait %s'", why, op, op)}
}
