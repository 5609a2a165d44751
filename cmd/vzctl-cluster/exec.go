package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// execLimit bounds what exec -j keeps of each output stream.
const execLimit = 16 << 20

// execFlags say how a command is run in a container.
type execFlags struct {
	tty     bool
	noStdin bool
	cwd     string
	env     []string
}

func (a *app) execCommand() *cobra.Command {
	var x execFlags
	cmd := &cobra.Command{
		Use:   "exec CTID [-t] -- COMMAND [ARG...]",
		Short: "run a command in a running container and pass on its exit code",
		Long: `run a command in a running container, with stdin, stdout and stderr passed through, and pass on its exit code
(128 + signal if one killed it). With -t it gets a terminal. Without -t SIGINT, SIGTERM, SIGHUP
and SIGQUIT are passed on; the third SIGINT cuts the session off.
Trouble of vzctl-cluster's own is told by its "error:" line. With -j stdin is empty and the document has the outputs and the exit code.`,
		Example: "  vzctl-cluster exec web1 -- ps aux\n  vzctl-cluster exec web1 -t -- top",
		Args:    cobra.ArbitraryArgs,
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || cmd.ArgsLenAtDash() == 0 {
				return hinted(cmd, "CTID missing")
			}
			if cmd.ArgsLenAtDash() != 1 {
				return hinted(cmd, "put -- before the command: exec CTID -- COMMAND")
			}
			if len(args) == 1 {
				return hinted(cmd, "COMMAND missing")
			}
			return a.execute(cmd, args[0], args[1:], x)
		}),
		ValidArgsFunction: a.completeContainer,
	}
	f := cmd.Flags()
	f.BoolVarP(&x.tty, "tty", "t", false, "give it a terminal")
	f.BoolVarP(&x.noStdin, "no-stdin", "n", false, "don't read stdin")
	f.StringVar(&x.cwd, "cwd", "", "the directory to run it in, `DIR`")
	f.StringArrayVarP(&x.env, "env", "e", nil, "set a variable, `NAME=VALUE`; can be repeated")
	return cmd
}

func (a *app) enterCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "enter CTID",
		Short: "open a shell in a running container",
		Args:  operands("CTID"),
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			if a.json {
				return hinted(cmd, "a shell has no JSON document")
			}
			shell := []string{"/bin/sh", "-c", "[ -x /bin/bash ] && exec /bin/bash -l; exec /bin/sh -l"}
			return a.execute(cmd, args[0], shell, execFlags{tty: isTerminal(a.in)})
		}),
		ValidArgsFunction: a.completeContainer,
	}
}

// execute runs argv in a container. Only the search for a master is repeated: a command must not be run twice.
func (a *app) execute(cmd *cobra.Command, name string, argv []string, x execFlags) error {
	if a.json && x.tty {
		return hinted(cmd, "-t and -j don't go together")
	}
	c, err := a.cluster()
	if err != nil {
		return err
	}
	// Caught from here on, so that no signal is lost between the search for a master, which it ends, and the session, which passes it on.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGWINCH)
	defer signal.Stop(signals)
	stub, err := c.Connect(cmd.Context(), a.window(readTimeout))
	if err != nil {
		return err
	}
	start := &vzpb.ExecRequest_Start{Name: name, Argv: argv, Env: x.env, Tty: x.tty, Cwd: x.cwd}
	// An interrupt is the command's, not ours: the stream must outlive it to bring the command's answer.
	ctx, cancel := context.WithCancel(context.WithoutCancel(cmd.Context()))
	defer cancel()
	s := &session{stub: stub, in: a.in, out: a.out, err: a.err, cancel: cancel, caught: signals, noStdin: x.noStdin}
	if !a.json {
		return s.run(ctx, start)
	}
	var out, errs limited
	s.out, s.err, s.noStdin = &out, &errs, true
	return a.execDoc(s.run(ctx, start), &out, &errs)
}

// execDoc prints the document of exec -j.
func (a *app) execDoc(err error, out, errs *limited) error {
	code := 0
	if exit, ok := err.(exitError); ok {
		code = int(exit)
	} else if err != nil {
		return err
	}
	doc := map[string]any{"exit_code": code}
	out.put(doc, "stdout")
	errs.put(doc, "stderr")
	if e := a.document(doc); e != nil {
		return e
	}
	return err
}

// limited keeps the first execLimit bytes of an output.
type limited struct {
	bytes.Buffer
	cut bool
}

// Write implements io.Writer; it never fails.
func (l *limited) Write(p []byte) (int, error) {
	room := execLimit - l.Len()
	if len(p) > room {
		l.cut = true
		l.Buffer.Write(p[:room])
		return len(p), nil
	}
	return l.Buffer.Write(p)
}

// put adds the output to a document: as text, or in base64 if it isn't.
func (l *limited) put(doc map[string]any, name string) {
	if utf8.Valid(l.Bytes()) {
		doc[name] = l.String()
	} else {
		doc[name+"_base64"] = l.Bytes()
	}
	if l.cut {
		doc[name+"_truncated"] = true
	}
}

var _ io.Writer = (*limited)(nil)
