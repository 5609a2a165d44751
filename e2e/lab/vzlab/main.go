// Command vzlab runs a lab: a whole cluster of hosts on one machine. See package lab.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/vzcluster/vzcluster/e2e/lab"
)

// Exit codes, as far as a command that was run on a host does not have its own.
const (
	exitFailed = 1
	exitUsage  = 2
	exitNotUp  = 3
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "host-init" {
		fail(lab.HostInit())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := rootCommand().ExecuteContext(ctx); err != nil {
		fail(err)
	}
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

func fail(err error) {
	code := exitFailed
	var usage usageError
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		// The command has said itself what was wrong.
		os.Exit(exitCode(exit))
	case errors.As(err, &usage):
		code = exitUsage
	case errors.Is(err, lab.ErrNotUp):
		code = exitNotUp
	}
	fmt.Fprintln(os.Stderr, "error:", err)
	os.Exit(code)
}

// exitCode is that of a shell: 128 + signal for a command that a signal ended.
func exitCode(err *exec.ExitError) int {
	if ws, ok := err.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return err.ExitCode()
}

// target is the lab that the commands are about.
type target struct{ name, dir string }

// flags are what other commands need to find the same lab.
func (t *target) flags() string {
	var s string
	if t.name != lab.DefaultName {
		s += " --name " + t.name
	}
	if t.dir != "" {
		s += " --dir " + t.dir
	}
	return s
}

func (t *target) open() (*lab.Lab, error) { return lab.Open(t.name, t.dir) }

func rootCommand() *cobra.Command {
	var t target
	root := &cobra.Command{
		Use:           "vzlab",
		Short:         "A cluster of lab hosts on this machine",
		Long:          "vzlab runs hosts (m1.. masters, n1.. nodes, client) on this machine, each with its own processes, network, /run and /vz.",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().StringVar(&t.name, "name", envOr("VZLAB_NAME", lab.DefaultName), "the lab's name (or VZLAB_NAME)")
	root.PersistentFlags().StringVar(&t.dir, "dir", os.Getenv("VZLAB_DIR"), "state directory (or VZLAB_DIR; default "+lab.DefaultDir("NAME")+")")
	root.AddCommand(upCommand(&t), envCommand(&t), execCommand(&t), killCommand(&t), startCommand(&t), poweroffCommand(&t),
		cutCommand(&t), healCommand(&t), rateCommand(&t), statusCommand(&t), logsCommand(&t), downCommand(&t), leftoversCommand(&t))
	return root
}

func envOr(key, def string) string {
	if v := os.Getenv(key); v != "" {
		return v
	}
	return def
}

// args wraps a check of the arguments, so that its error counts as wrong usage.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, a []string) error {
		if err := check(cmd, a); err != nil {
			return usageError{err}
		}
		return nil
	}
}
