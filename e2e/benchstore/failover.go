package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// failover kills the leader of each kind again and again, and takes the time until a write is acknowledged by the others.
func (b *bench) failover(ctx context.Context) (err error) {
	dir := filepath.Join(b.dir, "failover")
	groups := make(map[string]*group)
	for _, kind := range kinds {
		g, err := newGroup(ctx, kind, dir)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, g.close(), os.RemoveAll(filepath.Join(dir, kind))) }()
		groups[kind] = g
	}
	times := make(map[string][]time.Duration)
	for round := range b.kills {
		err := inTurn(round, func(kind string) error {
			t, err := groups[kind].killLeader(ctx)
			times[kind] = append(times[kind], t)
			return err
		})
		if err != nil {
			return err
		}
	}
	fmt.Println()
	b.report.Failover = make(map[string]Failover)
	for _, kind := range kinds {
		s := slices.Sorted(slices.Values(times[kind]))
		f := Failover{times[kind], quantile(s, 0.5), s[len(s)-1]}
		b.report.Failover[kind] = f
		fmt.Printf("%s: first write after kill -9 of the leader, %d times: median %s ms, worst %s ms\n", kind, len(s), ms(f.Median), ms(f.Worst))
	}
	return nil
}

// killLeader kills the leading process, returns how long it took until a write was acknowledged, and restores the group.
func (g *group) killLeader(ctx context.Context) (time.Duration, error) {
	lead, err := g.leader(ctx)
	if err != nil {
		return 0, err
	}
	if err := put(ctx, lead); err != nil {
		return 0, fmt.Errorf("before the kill: %w", err)
	}
	begin := time.Now()
	if err := lead.stop(syscall.SIGKILL); err != nil {
		return 0, err
	}
	took, err := g.firstWrite(ctx, lead, begin)
	if err != nil {
		return 0, err
	}
	if err := lead.start(); err != nil {
		return 0, err
	}
	_, err = g.leader(ctx)
	return took, err
}

// firstWrite tries all members but dead at the same time until one of them has written.
func (g *group) firstWrite(ctx context.Context, dead *member, begin time.Time) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	first := make(chan time.Time, len(g.members))
	for _, m := range g.members {
		if m == dead {
			continue
		}
		go func() {
			for ctx.Err() == nil {
				one, stop := context.WithTimeout(ctx, 500*time.Millisecond)
				err := put(one, m)
				stop()
				if err == nil {
					first <- time.Now()
					return
				}
				select {
				case <-time.After(5 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		}()
	}
	select {
	case at := <-first:
		return at.Sub(begin), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("no write for 30 s after %s was killed", dead.name)
	}
}

// put writes one key, whatever it was.
func put(ctx context.Context, m *member) error {
	_, err := pb.NewKVClient(m.conn).Txn(ctx, &pb.TxnRequest{
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("bench/failover"), Value: []byte("x")}}}},
	})
	return err
}
