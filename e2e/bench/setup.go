package main

import (
	"context"
	"errors"

	"github.com/vzcluster/vzcluster/e2e/harness"
	"github.com/vzcluster/vzcluster/e2e/lab"
)

// labConfig is the lab for both ways. It dies with this process.
var labConfig = lab.Config{Name: "bench", Masters: 3, Nodes: 3, Ephemeral: true}

// up builds the lab and the ways. Whoever calls it closes b.c.
func (b *bench) up(ctx context.Context, o options, template string) (err error) {
	build := harness.Up
	if o.only == classicName { // that needs no cluster
		build = harness.Bare
	}
	if b.c, err = build(ctx, labConfig); err != nil {
		return err
	}
	if err := b.prepare(ctx, o, template); err != nil {
		return errors.Join(err, b.c.Close(true))
	}
	return nil
}

// prepare does what comes once, before the first container.
func (b *bench) prepare(ctx context.Context, o options, template string) error {
	if o.rate != "" {
		for _, h := range hosts {
			if err := b.c.Lab.Rate(h, o.rate); err != nil {
				return err
			}
		}
	}
	if o.only != classicName {
		if _, err := b.c.Must(ctx, "template", "import", templateName, template); err != nil {
			return err
		}
		b.ways = append(b.ways, &ours{c: b.c})
	}
	if o.only != oursName {
		w, err := newClassic(b.c.Lab, template)
		if err != nil {
			return err
		}
		b.ways = append(b.ways, w)
	}
	return nil
}
