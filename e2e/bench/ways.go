package main

import (
	"context"
)

// way is one way to move a Redis container between the hosts of the lab.
type way interface {
	// name is one of wayNames.
	name() string
	// address is the container's, without prefix.
	address() string
	// create makes the container on the first host, with room for so much data, and starts it.
	create(ctx context.Context, mib int) error
	// host is where the container runs.
	host() string
	// move takes it to a host. The move holds what the way itself measured. On an error nothing is known of where the
	// container is, until settle.
	move(ctx context.Context, to string) (Move, error)
	// settle waits until nothing of the last move is under way; alive tells whether the container is still there.
	settle(ctx context.Context) (alive bool, err error)
	// destroy removes the container and what failed moves left of it. It may be called at any time.
	destroy(ctx context.Context) error
}

// The ways, in the order of their turns.
const (
	oursName    = "vzcluster"
	classicName = "classic"
)

var wayNames = []string{oursName, classicName}

// hosts are the two between which the containers go back and forth.
var hosts = [2]string{"n1", "n2"}

// other is the host to move to.
func other(host string) string {
	if host == hosts[0] {
		return hosts[1]
	}
	return hosts[0]
}
