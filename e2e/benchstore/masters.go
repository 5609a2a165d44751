package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vzcluster/vzcluster/e2e/harness"
	"github.com/vzcluster/vzcluster/e2e/load"
	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// masterGroup is three vzmaster over one of the back ends, with a node for each client to change.
type masterGroup struct {
	members []*member
	etcd    *group // nil with raft
	api     vzpb.ClusterClient
	n       []int // changes made so far, by client
}

// masters measures changes through the cluster API: each is a transaction that writes a node, its operation, and both kinds' guards.
func (b *bench) masters(ctx context.Context) (err error) {
	bin, err := harness.BinDir()
	if err != nil {
		return err
	}
	names := load.Names(slices.Max(b.clients))
	nodesCtx, stopNodes := context.WithCancel(ctx)
	var sessions errgroup.Group
	defer func() {
		stopNodes()
		err = errors.Join(err, sessions.Wait())
	}()
	groups := make(map[string]*masterGroup)
	for _, kind := range kinds {
		g, err := newMasters(ctx, kind, filepath.Join(bin, "vzmaster"), filepath.Join(b.dir, "masters"))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, g.close()) }()
		sessions.Go(func() error { return load.Nodes(nodesCtx, g.addrs(), names) })
		if err := load.WaitNodes(ctx, g.addrs(), names); err != nil {
			return fmt.Errorf("%s: %w\n%s", kind, err, tail(g.members[0].log))
		}
		g.n = make([]int, len(names))
		groups[kind] = g
	}
	fmt.Println("\nthrough three masters: a change by the cluster API")
	b.report.Masters, err = b.steps(ctx, func(ctx context.Context, kind string, n int, d time.Duration) (Figures, error) {
		g := groups[kind]
		return drive(ctx, n, d, func(ctx context.Context, i int) error {
			g.n[i]++
			_, err := g.api.CordonNode(ctx, &vzpb.CordonNodeRequest{OpKey: fmt.Sprintf("bench-%d-%d", i, g.n[i]), Name: names[i], Cordon: true, Reason: fmt.Sprint(g.n[i])})
			return err
		})
	})
	return err
}

func newMasters(ctx context.Context, kind, program, dir string) (*masterGroup, error) {
	addrs, err := ports(2 * groupSize)
	if err != nil {
		return nil, err
	}
	g := &masterGroup{}
	var store []string
	if kind == etcdKind {
		if g.etcd, err = newGroup(ctx, etcdKind, dir); err != nil {
			return nil, err
		}
		var urls []string
		for _, m := range g.etcd.members {
			urls = append(urls, "http://"+m.api)
		}
		store = []string{"--store", "etcd", "--etcd-endpoints", strings.Join(urls, ",")}
	}
	for i := range groupSize {
		name := fmt.Sprintf("m%d", i+1)
		data := filepath.Join(dir, kind+"-masters", name)
		argv := []string{program, "--id", name, "--listen", addrs[i], "--log-level", "warn"}
		switch {
		case kind == etcdKind:
			argv = append(argv, store...)
		default:
			argv = append(argv, "--data-dir", data, "--raft-listen", addrs[groupSize+i])
		}
		if i == 0 {
			argv = append(argv, "--bootstrap")
		} else if kind == raftKind {
			argv = append(argv, "--join", addrs[0])
		}
		m := &member{name: name, api: addrs[i], argv: argv, log: data + ".log"}
		g.members = append(g.members, m)
		if err := m.start(); err != nil {
			return nil, errors.Join(err, g.close())
		}
	}
	if err := g.ready(ctx); err != nil {
		return nil, errors.Join(err, g.close())
	}
	return g, nil
}

// ready waits until the leader knows three masters, and has the clients talk to it.
func (g *masterGroup) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		for _, m := range g.members {
			one, stop := context.WithTimeout(ctx, 2*time.Second)
			resp, err := vzpb.NewClusterClient(m.conn).Status(one, &vzpb.StatusRequest{})
			stop()
			var st cluster.Status
			if err != nil || json.Unmarshal(resp.GetJson(), &st) != nil || len(st.Masters) < groupSize {
				continue
			}
			for _, lead := range g.members {
				if lead.name == st.Leader {
					g.api = vzpb.NewClusterClient(lead.conn)
					return nil
				}
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("three masters did not find each other: %w\n%s", ctx.Err(), tail(g.members[0].log))
		}
	}
}

func (g *masterGroup) addrs() []string {
	var out []string
	for _, m := range g.members {
		out = append(out, m.api)
	}
	return out
}

func (g *masterGroup) close() error {
	masters := &group{members: g.members}
	err := masters.close()
	if g.etcd != nil {
		err = errors.Join(err, g.etcd.close())
	}
	return errors.Join(err, os.RemoveAll(filepath.Dir(g.members[0].log)))
}
