package main

import (
	"context"
	"fmt"
	"time"

	"github.com/vzcluster/vzcluster/e2e/harness"
	"github.com/vzcluster/vzcluster/pkg/cluster"
)

const (
	oursContainer = "bench"
	oursAddress   = "10.77.1.1"
	netPrefix     = "/16" // of the lab's subnet
	templateName  = "debian-redis"
	settleTimeout = time.Minute
)

// ours is the product, as an operator uses it.
type ours struct {
	c  *harness.Cluster
	on string
}

func (*ours) name() string    { return oursName }
func (*ours) address() string { return oursAddress }
func (o *ours) host() string  { return o.on }

func (o *ours) create(ctx context.Context, mib int) error {
	_, err := o.c.Must(ctx, "create", oursContainer, "--ostemplate", templateName, "--ram", fmt.Sprintf("%dM", roomMiB(mib)),
		"--ipadd", oursAddress+netPrefix, "--on", hosts[0], "--start")
	o.on = hosts[0]
	return err
}

// roomMiB is the memory that a Redis with so much data is given.
func roomMiB(mib int) int { return 512 + mib + mib/2 }

func (o *ours) move(ctx context.Context, to string) (Move, error) {
	var r cluster.Migration
	if err := o.c.JSON(ctx, &r, "migrate", oursContainer, "--to", to); err != nil {
		return Move{}, err
	}
	return moveOf(r), nil
}

func (o *ours) settle(ctx context.Context) (bool, error) {
	on, err := o.c.OneCopy(ctx, oursContainer, settleTimeout)
	if err != nil {
		return false, err
	}
	o.on = on
	return true, nil
}

func (o *ours) destroy(ctx context.Context) error {
	_, err := o.c.Must(ctx, "destroy", oursContainer, "--force")
	return err
}
