// Command vzdemo is the tour that `make demo` runs: a cluster of three masters and three nodes on this machine, a Redis container that
// moves live to another node and back under one open client connection, and a verdict on each promise. It exits non-zero if any
// promise is broken, and takes everything down again.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Fprintf(os.Stderr, "vzdemo takes no arguments, not even %q: it just runs the tour (root)\n", os.Args[1])
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}
