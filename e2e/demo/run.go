package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/vzcluster/vzcluster/e2e/harness"
	"github.com/vzcluster/vzcluster/e2e/lab"
	"github.com/vzcluster/vzcluster/pkg/cluster"
)

const (
	name    = "web1"
	address = "10.77.1.1"
	dataMiB = 100
)

// run is the whole tour; it returns an error if a step fails or a promise is broken.
func run(ctx context.Context, out io.Writer, store string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	fmt.Fprintf(out, "Bringing up 3 masters (state in %s), 3 nodes and a client on this machine ...\n", store)
	c, err := harness.Up(ctx, lab.Config{Name: "demo", Masters: 3, Nodes: 3, Store: store, Ephemeral: true})
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := c.Close(false); closeErr != nil {
			err = errors.Join(err, closeErr)
		} else {
			fmt.Fprintln(out, "The lab is down; it left nothing behind.")
		}
	}()
	c.Echo = out
	var v verdict
	if err := tour(ctx, c, &v); err != nil {
		return err
	}
	return v.print(out)
}

// tour is what an operator would do, with what has to be true noted in v.
func tour(ctx context.Context, c *harness.Cluster, v *verdict) error {
	steps := [][]string{
		{"status"},
		{"node", "list"},
		{"template", "import", "debian-redis", filepath.Join(harness.TemplateDir(), "debian-redis.tar")},
	}
	for _, args := range steps {
		if _, err := c.Must(ctx, args...); err != nil {
			return err
		}
	}
	r, err := c.Redis(ctx, name, address, "", dataMiB) // placed by the scheduler
	if err != nil {
		return err
	}
	if _, err := c.Must(ctx, "list"); err != nil {
		return err
	}
	home, err := c.OneCopy(ctx, name, 10*time.Second)
	if err != nil {
		return err
	}
	if v.before, err = r.Digest(ctx); err != nil {
		return err
	}
	fmt.Fprintf(c.Echo, "\nRedis in %s holds %d MiB. A client now increments a counter there every millisecond, on one connection.\n", name, dataMiB)
	p, err := r.Probe(ctx)
	if err != nil {
		return err
	}
	defer p.Kill()
	away, err := otherNode(ctx, c, home)
	if err != nil {
		return err
	}
	for _, to := range []string{away, home} {
		if err := move(ctx, c, v, to); err != nil {
			return err
		}
	}
	v.client, v.clientErr = p.Stop()
	if v.after, err = r.DigestWithoutCounter(ctx); err != nil {
		return err
	}
	if _, err := c.Must(ctx, "migrations", "-a"); err != nil {
		return err
	}
	_, err = c.Must(ctx, "destroy", name, "--force", "--yes")
	return err
}

// otherNode picks a node to move to.
func otherNode(ctx context.Context, c *harness.Cluster, not string) (string, error) {
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return "", err
	}
	for _, n := range nodes {
		if n.Name != not && n.State == cluster.NodeOnline {
			return n.Name, nil
		}
	}
	return "", fmt.Errorf("no other node than %s is online", not)
}

// move migrates the container and notes what came of it.
func move(ctx context.Context, c *harness.Cluster, v *verdict, to string) error {
	if _, err := c.Must(ctx, "migrate", name, "--to", to); err != nil {
		return err
	}
	node, err := c.OneCopy(ctx, name, 10*time.Second)
	if err != nil {
		v.copies = append(v.copies, err.Error())
	} else if node != to {
		v.copies = append(v.copies, fmt.Sprintf("it runs on %s, not on %s", node, to))
	}
	var all []cluster.Migration
	if err := c.JSON(ctx, &all, "migrations", "-a"); err != nil {
		return err
	}
	v.moves = append(v.moves, latest(all))
	return nil
}

// latest returns the migration that was made last.
func latest(all []cluster.Migration) cluster.Migration {
	var last cluster.Migration
	for _, m := range all {
		if m.Created.After(last.Created) {
			last = m
		}
	}
	return last
}
