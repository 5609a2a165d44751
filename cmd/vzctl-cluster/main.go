// Command vzctl-cluster is the command line of a vzcluster: create, run and move containers. docs/cli.md is its reference.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/rpc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	a := &app{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		env: os.Getenv, conf: "/etc/vzcluster/cli.conf",
		dial: func(addr string) (*grpc.ClientConn, error) { return rpc.Dial(addr) },
	}
	os.Exit(a.run(ctx, os.Args[1:]))
}
