package main

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func killCommand(t *target) *cobra.Command {
	var role, sig string
	cmd := &cobra.Command{
		Use:   "kill HOST",
		Short: "Send a signal to a host's master or agent, not to its containers",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, a []string) error {
			n, err := parseSignal(sig)
			if err != nil {
				return usageError{err}
			}
			l, err := t.open()
			if err != nil {
				return err
			}
			return l.Kill(a[0], role, n)
		},
	}
	cmd.Flags().StringVar(&role, "role", "", "master, etcd or node (default: the only one of the host, or its master)")
	cmd.Flags().StringVar(&sig, "signal", "KILL", "name or number of the signal")
	return cmd
}

func parseSignal(s string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil && n > 0 && n < 65 {
		return syscall.Signal(n), nil
	}
	if n := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")); n != 0 {
		return n, nil
	}
	return 0, fmt.Errorf("unknown signal %q", s)
}

func startCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "start HOST",
		Short: "Start what does not run: the master or agent, or the whole host when it is powered off",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, a []string) error {
			l, err := t.open()
			if err != nil {
				return err
			}
			return l.Start(a[0])
		},
	}
}

func poweroffCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "poweroff HOST",
		Short: "Pull the plug: every process and container of the host dies at once; its disk stays",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, a []string) error {
			l, err := t.open()
			if err != nil {
				return err
			}
			return l.Poweroff(a[0])
		},
	}
}
