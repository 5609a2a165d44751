package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// Defaults of --timeout.
const (
	readTimeout   = 10 * time.Second
	mutateTimeout = 60 * time.Second
)

// app is one invocation: what it reads and writes, and the flags that all commands have.
type app struct {
	in   io.Reader
	out  io.Writer
	err  io.Writer
	env  func(string) string
	conf string // path of the configuration file
	dial cli.Dialer

	masters   string
	json      bool
	yes       bool          // don't ask
	timeout   time.Duration // 0: the default of the kind of call
	stale     bool          // any master's own answer will do
	printed   bool          // the one JSON document is out
	staleSaid bool          // as of when a stale answer is was told
	client    *cli.Client
}

// exitError passes on the exit code of a command that ran in a container. Nothing is printed for it.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// run runs one command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	a.json = wantsJSON(args) // also for what goes wrong before the flags are read
	err := root.ExecuteContext(ctx)
	if a.client != nil {
		a.client.Close()
	}
	return a.report(err)
}

var jsonFlag = regexp.MustCompile(`^(--json|-[aHS1tnLy]*j)$`)

// wantsJSON looks for -j among the arguments before "--".
func wantsJSON(args []string) bool {
	for _, s := range args {
		if s == "--" {
			return false
		}
		if jsonFlag.MatchString(s) {
			return true
		}
	}
	return false
}

// errorDoc is the JSON document of a command that was not done.
type errorDoc struct {
	Code      cli.Code `json:"code"`
	Message   string   `json:"message"`
	Op        string   `json:"op,omitempty"`
	Retryable bool     `json:"retryable"`
	Details   any      `json:"details,omitempty"`
}

// report prints the one line (and document) of an error and returns the exit code.
func (a *app) report(err error) int {
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	}
	var e *cli.Error
	if !errors.As(err, &e) { // runE lets none of another kind through: it is the parser's
		e = cli.Errorf(cli.Usage, "%v; see 'vzctl-cluster --help'", err)
	}
	fmt.Fprintf(a.err, "error: %s: %s\n", e.Code, e.Error())
	if a.json && !a.printed {
		_ = a.document(errorDoc{e.Code, e.Error(), e.Op, e.Retryable, e.Details}) // the exit code says it all
	}
	return e.Code.Exit()
}

// document prints the one JSON document.
func (a *app) document(v any) error {
	a.printed = true
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	_, err = a.out.Write(append(b, '\n'))
	return err
}

// result prints doc with -j, else the line for people.
func (a *app) result(doc any, format string, args ...any) error {
	if a.json {
		return a.document(doc)
	}
	_, err := fmt.Fprintln(a.out, cli.Line(fmt.Sprintf(format, args...)))
	return err
}

// cluster returns the client, made at the first use.
func (a *app) cluster() (*cli.Client, error) {
	if a.client == nil {
		addrs, err := cli.Masters(a.masters, a.env("VZ_MASTERS"), a.conf)
		if err != nil {
			return nil, err
		}
		a.client = cli.NewClient(addrs, a.dial)
	}
	return a.client, nil
}

// window is how long to try: what --timeout says, or the default.
func (a *app) window(def time.Duration) time.Duration {
	if a.timeout > 0 {
		return a.timeout
	}
	return def
}

// read makes a call that changes nothing.
func (a *app) read(ctx context.Context, call cli.Call) error {
	c, err := a.cluster()
	if err != nil {
		return err
	}
	if a.stale {
		call = a.staleCall(call)
	}
	return c.Read(ctx, a.window(readTimeout), call)
}

// mutate makes a call that carries the operation key op.
func (a *app) mutate(ctx context.Context, op string, call cli.Call) error {
	c, err := a.cluster()
	if err != nil {
		return err
	}
	if a.stale {
		return cli.Errorf(cli.Usage, "--stale is for questions; a change needs the leader")
	}
	return c.Mutate(ctx, a.window(mutateTimeout), op, call)
}

// isTerminal tells whether f is a terminal.
func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// usage turns a check's error into wrong usage.
func usage(err error) error {
	var invalid *cluster.InvalidError
	if errors.As(err, &invalid) {
		return cli.Errorf(cli.Usage, "%v", err)
	}
	return err
}

// runE wraps a command's work: an error of no known kind is a fault of ours, not of the usage.
func runE(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := f(cmd, args)
		var exit exitError
		if err == nil || errors.As(err, &exit) {
			return err
		}
		return cli.AsError(err)
	}
}

// decode reads a record from an answer.
func decode(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	return nil
}
