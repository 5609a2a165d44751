package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/vzcluster/vzcluster/e2e/lab"
)

func upCommand(t *target) *cobra.Command {
	var cfg lab.Config
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Build the lab and wait until the cluster is ready",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Name, cfg.Dir = t.name, t.dir
			l, err := lab.Up(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if wait == 0 {
				return nil
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), wait, fmt.Errorf("waited %s", wait))
			defer cancel()
			if err := l.WaitReady(ctx); err != nil {
				return fmt.Errorf("%w; the lab stays up: see 'vzlab status', 'vzlab logs HOST', 'vzlab down'", err)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "lab %s is up: %d masters, %d nodes, client; next: eval \"$(%s env%s)\"\n",
				l.Name(), cfg.Masters, cfg.Nodes, os.Args[0], t.flags())
			return nil
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Masters, "masters", 3, "how many masters")
	f.IntVar(&cfg.Nodes, "nodes", 3, "how many nodes")
	f.StringVar(&cfg.Store, "store", lab.StoreRaft, "where the masters keep the state: raft, or etcd (a member of it runs on each master's host)")
	f.StringVar(&cfg.BinDir, "bin", "", "directory of vzmaster and vznode (default: that of vzlab)")
	f.StringArrayVar(&cfg.MasterArgs, "master-arg", nil, "argument added to vzmaster's command line; may be repeated")
	f.StringArrayVar(&cfg.NodeArgs, "node-arg", nil, "argument added to vznode's command line; may be repeated")
	f.DurationVar(&wait, "wait", time.Minute, "how long to wait for the cluster; 0: not at all")
	return cmd
}

func downCommand(t *target) *cobra.Command {
	var keepLogs bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Take the lab away, whatever state it is in",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return lab.Down(cmd.Context(), t.name, lab.DownOptions{Dir: t.dir, KeepLogs: keepLogs})
		},
	}
	cmd.Flags().BoolVar(&keepLogs, "keep-logs", false, "leave the hosts' logs")
	return cmd
}

// errLeft makes the command fail when there are leftovers.
var errLeft = errors.New("something of the lab is there")

func leftoversCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "leftovers",
		Short: "List what exists of the lab on this machine; fails if there is anything",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			left, err := lab.Leftovers(t.name, t.dir)
			if err != nil {
				return err
			}
			for _, l := range left {
				fmt.Fprintln(cmd.OutOrStdout(), l)
			}
			if len(left) > 0 {
				return errLeft
			}
			return nil
		},
	}
}
