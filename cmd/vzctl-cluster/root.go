package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// rootCommand builds the whole tree of commands.
func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "vzctl-cluster",
		Short: "run system containers on a cluster and move them live",
		Long: `vzctl-cluster runs system containers on a cluster of hosts and moves them live from host to host.
The grammar is that of vzctl and vzlist. CTID is a container's number or its name.

Masters are found with --masters, the variable VZ_MASTERS or "masters = HOST:PORT,..." in /etc/vzcluster/cli.conf.
With -j exactly one JSON document is written to stdout, also for an error; messages go to stderr.
An error is one line on stderr: "error: CODE: text".

` + exitCodeTable(),
		Version:           cluster.Version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		Args:              cobra.ArbitraryArgs,
		RunE:              group,
	}
	root.SetVersionTemplate("{{.Version}}\n")
	p := root.PersistentFlags()
	p.StringVar(&a.masters, "masters", "", "addresses of the masters, `HOST:PORT,...`")
	p.BoolVarP(&a.json, "json", "j", false, "one JSON document on stdout, and nothing else there")
	p.BoolVarP(&a.yes, "yes", "y", false, "don't ask before something is destroyed")
	p.BoolVar(&a.stale, "stale", false, "for questions: take what any master has, without a leader or quorum; stderr says as of when it is")
	p.Var(&param{typ: "DURATION", set: func(s string) (err error) { a.timeout, err = parseDuration(s); return err }}, "timeout",
		"how long to look for a master that answers (default 60s for changes, 10s for questions)")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return hinted(cmd, err.Error())
	})
	root.AddCommand(
		a.statusCommand(), a.masterCommand(), a.nodeCommand(), a.templateCommand(),
		a.createCommand(), a.listCommand(), a.showCommand(), a.setCommand(),
		a.startCommand(), a.stopCommand(), a.restartCommand(), a.destroyCommand(),
		a.execCommand(), a.enterCommand(), a.consoleCommand(),
		a.migrateCommand(), a.migrationsCommand(), a.historyCommand(), a.jobCommand(), a.storeCommand(),
	)
	return root
}

// exitCodeTable is the table of exit codes for the help.
func exitCodeTable() string {
	var b strings.Builder
	b.WriteString("Exit codes:\n")
	for _, e := range cli.ExitCodes() {
		fmt.Fprintf(&b, "  %3d  %-16s %s\n", e.Exit, e.Code, e.Text)
	}
	b.WriteString("  exec and enter pass on the exit code of the command that they ran (128 + signal if one killed it).")
	return b.String()
}

// group is what a command that only has sub-commands does: it is always wrong usage.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		var names []string
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() && c.Name() != "completion" {
				names = append(names, c.Name())
			}
		}
		return hinted(cmd, "which command? there are "+strings.Join(names, ", "))
	}
	text := fmt.Sprintf("unknown command %q", args[0])
	cmd.SuggestionsMinimumDistance = 2
	if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
		text += ", perhaps " + strings.Join(s, " or ")
	}
	return hinted(cmd, text)
}

// hinted is wrong usage with the place to look.
func hinted(cmd *cobra.Command, text string) error {
	return cli.Errorf(cli.Usage, "%s; see '%s --help'", text, cmd.CommandPath())
}

// operands makes a check for exactly these operands.
func operands(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return hinted(cmd, strings.Join(names[len(args):], " and ")+" missing")
		}
		if len(args) > len(names) {
			return hinted(cmd, fmt.Sprintf("unexpected operand %q", args[len(names)]))
		}
		if i := slices.Index(args, ""); i >= 0 {
			return hinted(cmd, names[i]+" is empty")
		}
		return nil
	}
}

// optional makes a check for at most this one operand.
func optional(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return operands(name)(cmd, args)
	}
}

// param is a flag whose text is read by a function.
type param struct {
	typ  string
	set  func(string) error
	text string
}

func (p *param) String() string { return p.text }
func (p *param) Type() string   { return p.typ }

// Set implements pflag.Value.
func (p *param) Set(s string) error {
	p.text = s
	return p.set(s)
}

var _ pflag.Value = (*param)(nil)
