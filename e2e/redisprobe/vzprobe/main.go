// Command vzprobe probes a Redis from a lab's client host. See package redisprobe.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/vzcluster/vzcluster/e2e/redisprobe"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "vzprobe",
		Short:         "Watch a Redis over one connection; fill it; take its digest",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(runCommand(), fillCommand(), digestCommand(), waitCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func runCommand() *cobra.Command {
	var cfg redisprobe.Config
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "run HOST:PORT",
		Short: "Increment a counter until SIGINT; prints JSON lines: start, summary. Fails if an increment was lost or repeated",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, a []string) error {
			ctx := cmd.Context()
			c, err := redisprobe.Dial(ctx, a[0])
			if err != nil {
				return err
			}
			defer c.Close()
			out := json.NewEncoder(cmd.OutOrStdout())
			if err := out.Encode(redisprobe.Started{Event: "start", Addr: a[0], Local: c.LocalAddr(), At: time.Now()}); err != nil {
				return err
			}
			if limit > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, limit)
				defer cancel()
			}
			sum := redisprobe.Run(ctx, c, cfg)
			if err := out.Encode(sum); err != nil {
				return err
			}
			return sum.Err()
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Key, "key", "vzprobe", "the counter; deleted at the start and at the end")
	f.DurationVar(&cfg.Interval, "interval", time.Millisecond, "pause between a reply and the next request")
	f.IntVar(&cfg.Window, "window", 1, "more than 1: pipelined, with so many requests on the way at most")
	f.DurationVar(&cfg.Timeout, "timeout", time.Minute, "the longest silence before the connection counts as dead")
	f.IntVar(&cfg.Gaps, "gaps", 10, "how many of the longest gaps to print")
	f.DurationVar(&limit, "for", 0, "how long to run; 0: until SIGINT")
	return cmd
}

func fillCommand() *cobra.Command {
	var mib int
	var seed uint64
	cmd := &cobra.Command{
		Use:   "fill HOST:PORT",
		Short: "Store data that cannot be compressed",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, a []string) error {
			c, err := redisprobe.Dial(cmd.Context(), a[0])
			if err != nil {
				return err
			}
			defer c.Close()
			return c.Fill(cmd.Context(), mib, seed)
		},
	}
	cmd.Flags().IntVar(&mib, "mib", 100, "how many MiB")
	cmd.Flags().Uint64Var(&seed, "seed", 1, "other data for another number")
	return cmd
}

func digestCommand() *cobra.Command {
	var without string
	cmd := &cobra.Command{
		Use:   "digest HOST:PORT",
		Short: "Print DEBUG DIGEST",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, a []string) error {
			c, err := redisprobe.Dial(cmd.Context(), a[0])
			if err != nil {
				return err
			}
			defer c.Close()
			if without != "" {
				if _, err := c.Do("DEL", without); err != nil {
					return err
				}
			}
			d, err := c.Digest()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), d)
			return err
		},
	}
	cmd.Flags().StringVar(&without, "without", "", "remove this `KEY` first: a counter that a probe left when its connection broke")
	return cmd
}

func waitCommand() *cobra.Command {
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "wait HOST:PORT",
		Short: "Wait until a Redis answers",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, a []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), limit)
			defer cancel()
			return redisprobe.WaitUp(ctx, a[0])
		},
	}
	cmd.Flags().DurationVar(&limit, "for", 30*time.Second, "how long to wait")
	return cmd
}
