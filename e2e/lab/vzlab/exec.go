package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/vzcluster/vzcluster/e2e/lab"
)

func execCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "exec HOST -- COMMAND [ARG...]",
		Short: "Run a command on a host; its exit code is ours (128 + N after signal N)",
		Args:  args(cobra.MinimumNArgs(2)),
		RunE: func(_ *cobra.Command, a []string) error {
			l, err := t.open()
			if err != nil {
				return err
			}
			// Not the command's context: signals go to the child, whose end is ours.
			c, err := l.Command(context.Background(), a[0], a[1:]...)
			if err != nil {
				return err
			}
			return runInteractive(c)
		},
	}
}

// runInteractive runs a command with our streams, our terminal and our signals.
func runInteractive(c *lab.Cmd) error {
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	tty := int(os.Stdin.Fd())
	if term.IsTerminal(tty) {
		own, err := unix.IoctlGetInt(tty, unix.TIOCGPGRP)
		if err == nil && own == unix.Getpgrp() {
			// The command becomes the terminal's foreground, so that keys and shells work; afterwards we take it back.
			c.SysProcAttr = &syscall.SysProcAttr{Foreground: true, Ctty: tty}
			signal.Ignore(unix.SIGTTOU)
			defer unix.IoctlSetPointerInt(tty, unix.TIOCSPGRP, own) //nolint:errcheck // the terminal may be gone
		}
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	if err := c.Start(); err != nil {
		return err
	}
	go func() {
		for s := range signals {
			c.Process.Signal(s) //nolint:errcheck // it has ended
		}
	}()
	return c.Wait()
}

func envCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "env",
		Short: `Print the variables with which vzctl-cluster talks to the lab: eval "$(vzlab env)"`,
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := t.open()
			if err != nil {
				return err
			}
			env, err := l.Environ()
			if err != nil {
				return err
			}
			for _, kv := range env {
				key, value, _ := strings.Cut(kv, "=")
				fmt.Fprintf(cmd.OutOrStdout(), "export %s='%s'\n", key, strings.ReplaceAll(value, "'", `'\''`))
			}
			return nil
		},
	}
}
