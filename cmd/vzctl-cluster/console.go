package main

import (
	"context"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// consoleBytes is how much of the console's log is shown by default.
const consoleBytes = "64K"

func (a *app) consoleCommand() *cobra.Command {
	var raw bool
	tail, _ := cli.ParseSize(consoleBytes, cli.Byte)
	cmd := &cobra.Command{
		Use:   "console CTID",
		Short: "show what the container's init wrote to its console",
		Long: `show the kept log of the container's console. It goes with the container when it migrates.
On a terminal control characters are shown as '?', unless --raw.`,
		Args:              operands("CTID"),
		RunE:              runE(func(cmd *cobra.Command, args []string) error { return a.console(cmd.Context(), args[0], tail, raw) }),
		ValidArgsFunction: a.completeContainer,
	}
	cmd.Flags().Var(&param{typ: "SIZE", set: func(v string) (err error) { tail, err = cli.ParseSize(v, cli.Byte); return err }},
		"tail", "at most so much of its end (default "+consoleBytes+")")
	cmd.Flags().BoolVar(&raw, "raw", false, "as it is, with control characters")
	cmd.Flags().Bool("log", true, "the kept log: the only way in this version")
	_ = cmd.Flags().MarkHidden("log") // fails only for a flag that does not exist
	return cmd
}

func (a *app) console(ctx context.Context, name string, tail uint64, raw bool) error {
	var resp *vzpb.ConsoleLogResponse
	err := a.read(ctx, func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) (err error) {
		resp, err = stub.ConsoleLog(ctx, &vzpb.ConsoleLogRequest{Name: name, MaxBytes: tail}, opts...)
		return err
	})
	if err != nil {
		return err
	}
	if a.json {
		return a.document(map[string]string{"container": name, "log": string(resp.GetData())})
	}
	data := resp.GetData()
	if !raw && isTerminal(a.out) {
		data = []byte(strings.Map(visible, string(data)))
	}
	_, err = a.out.Write(data)
	return err
}

// visible keeps a container from driving the operator's terminal.
func visible(r rune) rune {
	switch {
	case r == '\n', r == '\t':
		return r
	case r == '\r':
		return -1
	case !unicode.IsPrint(r):
		return '?'
	}
	return r
}
