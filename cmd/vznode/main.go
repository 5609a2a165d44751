// Vznode is the agent of one host: it runs containers, moves them, and reports to the masters.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/node/container" // its init() serves the re-exec of libcontainer ("vznode init") before main
)

func main() {
	// SIGTERM ends the agent and nothing else: containers run on, and a next agent takes them over.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:           "vznode",
		Short:         "The agent of one host of a vzcluster",
		Version:       cluster.Version,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context()) },
	}
	f.register(cmd.Flags())
	cmd.AddCommand(consoleKeeper())
	return cmd
}

// consoleKeeper is the process that keeps the consoles' FIFOs open; it outlives the agent that started it.
func consoleKeeper() *cobra.Command {
	var socket, logDir string
	cmd := &cobra.Command{
		Use:    "console-keeper",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return container.RunConsoleKeeper(cmd.Context(), socket, logDir)
		},
	}
	cmd.Flags().StringVar(&socket, "socket", "", "where to listen")
	cmd.Flags().StringVar(&logDir, "log-dir", "", "where the logs are kept")
	return cmd
}
