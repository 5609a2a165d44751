// Command vzdemo is the tour that `make demo` runs: a cluster of three masters and three nodes on this machine, a Redis container that
// moves live to another node and back under one open client connection, and a verdict on each promise. It exits non-zero if any
// promise is broken, and takes everything down again. With --store etcd the masters keep the cluster's state in an etcd of three members.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/vzcluster/vzcluster/e2e/lab"
)

func main() {
	store := flag.String("store", lab.StoreRaft, "where the masters keep the state: raft or etcd")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "vzdemo: unknown argument %q: it just runs the tour\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *store); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}
