package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vzcluster/vzcluster/pkg/cli"
)

var update = flag.Bool("update", false, "write docs/cli.md anew")

const docPath = "../../docs/cli.md"

// TestReference: docs/cli.md says what the commands say of themselves. `go test ./cmd/vzctl-cluster -run Reference -update` writes it.
func TestReference(t *testing.T) {
	want := reference()
	if *update {
		if err := os.WriteFile(docPath, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(docPath)
	if err != nil || string(got) != want {
		t.Errorf("docs/cli.md is not fresh (%v); run this test with -update", err)
	}
}

func reference() string {
	var b strings.Builder
	b.WriteString(intro)
	b.WriteString("| exit | code | meaning |\n| ---: | --- | --- |\n")
	for _, e := range cli.ExitCodes() {
		fmt.Fprintf(&b, "| %d | %s | %s |\n", e.Exit, e.Code, e.Text)
	}
	b.WriteString(afterCodes)
	root := (&app{}).rootCommand()
	b.WriteString("## Flags of every command\n\n")
	flags(&b, root.PersistentFlags())
	b.WriteString("## Commands\n\n")
	commands(&b, root)
	b.WriteString("## Fields of `list`\n\n")
	fields(&b, containerColumns())
	b.WriteString("## Fields of `master list`\n\n")
	fields(&b, masterColumns())
	b.WriteString("## Fields of `node list`\n\n")
	fields(&b, nodeColumns())
	b.WriteString("## Fields of `migrations` and `history`\n\n")
	fields(&b, migrationColumns())
	b.WriteString("## Fields of `template list`\n\n")
	fields(&b, templateColumns())
	return strings.TrimRight(b.String(), "\n") + "\n"
}

const intro = `# vzctl-cluster: reference

<!-- Written by cmd/vzctl-cluster/docs_test.go from the commands themselves: change those, then run the test with -update. -->

` + "`vzctl-cluster VERB CTID|NAME|NODE --param value`" + `, with the parameter names of ` + "`vzctl`" + ` and the list grammar of ` + "`vzlist`" + `.

Masters are found with ` + "`--masters`" + `, else the variable ` + "`VZ_MASTERS`" + `, else the line ` + "`masters = HOST:PORT,...`" + ` of
` + "`/etc/vzcluster/cli.conf`" + `. Any master will do: one that does not lead passes the call on. The default port is 7700.

## Output and errors

* Answers go to stdout, messages and progress to stderr.
* With ` + "`-j`" + ` exactly one JSON document is written to stdout and nothing else. Records have the fields of the cluster's own records;
  a change adds ` + "`op`" + `, the operation's key. Lists are arrays; with ` + "`-o`" + ` their objects have just those fields.
* An error is one line on stderr, ` + "`error: CODE: text`" + `, and with ` + "`-j`" + ` also the document
  ` + "`{\"code\", \"message\", \"op\", \"retryable\"}`" + ` (` + "`details`" + ` has the record or list that the error is about, if there is one).

## Exit codes

`

const afterCodes = `
` + "`exec` and `enter`" + ` pass on the exit code of the command that they ran, 128 + signal if one killed it; an exit code of vzctl-cluster's
own comes with an ` + "`error:`" + ` line.

## One invocation is one operation

Each invocation that changes something has one operation key, a random UUID or what ` + "`--op-key`" + ` says, and sends it in every attempt. When
a master does not answer or has no leader, the others are tried, until ` + "`--timeout`" + ` is over; the cluster does the operation once, however
often it is sent. If the last word was never heard the exit code is 7 and the text has the key: ` + "`job show KEY`" + ` tells whether it was
done (NOT_FOUND: not so far), ` + "`job wait KEY`" + ` waits for its result, and the same command with ` + "`--op-key KEY`" + ` asks again.
A command with several steps makes the steps' keys from its own: ` + "`create --start`" + ` starts with KEY.start, ` + "`restart`" + ` stops with
KEY.stop, ` + "`migrate 101,102`" + ` moves with KEY.1 and KEY.2.

Commands wait for the result. Ctrl-C ends the waiting (exit code 7, with the way to follow it further), never the work.

## Sizes and limits

Digits, perhaps with a fraction, and one of B K M G T (powers of 1024, either case): ` + "`512M`, `1.5G`" + `. Without a letter a number is bytes,
for ` + "`--diskspace`" + ` KiB, as in vzctl. ` + "`barrier:limit`" + ` is taken where vzctl takes it; the limit counts.
` + "`--ipadd`" + ` needs the prefix length (` + "`10.0.0.5/24`" + `): containers are bridged.

`

// commands writes every command that can be run, in the order of the tree.
func commands(b *strings.Builder, parent *cobra.Command) {
	for _, c := range parent.Commands() {
		if !c.IsAvailableCommand() || c.Name() == "completion" || c.Name() == "help" {
			continue
		}
		if c.HasSubCommands() {
			commands(b, c)
			continue
		}
		fmt.Fprintf(b, "### %s\n\n```\n%s\n```\n\n", strings.TrimPrefix(c.CommandPath(), "vzctl-cluster "), c.UseLine())
		text := c.Long
		if text == "" {
			text = c.Short
		}
		fmt.Fprintf(b, "%s.\n\n", strings.TrimSuffix(strings.ToUpper(text[:1])+text[1:], "."))
		if c.Example != "" {
			fmt.Fprintf(b, "```\n%s\n```\n\n", strings.ReplaceAll(strings.TrimPrefix(c.Example, "  "), "\n  ", "\n"))
		}
		flags(b, c.NonInheritedFlags())
	}
}

// flags writes a table of flags, if there are any.
func flags(b *strings.Builder, f *pflag.FlagSet) {
	var rows strings.Builder
	f.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" || f.Name == "version" {
			return
		}
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		typ, help := pflag.UnquoteUsage(f)
		if typ != "" {
			name += " " + typ
		}
		fmt.Fprintf(&rows, "| `%s` | %s |\n", strings.ReplaceAll(name, "|", "\\|"), strings.ReplaceAll(help, "|", "\\|"))
	})
	if rows.Len() > 0 {
		fmt.Fprintf(b, "| flag | meaning |\n| --- | --- |\n%s\n", rows.String())
	}
}

// fields writes a table of columns.
func fields[T any](b *strings.Builder, cols []cli.Column[T]) {
	b.WriteString("| field | header | meaning |\n| --- | --- | --- |\n")
	for _, c := range cols {
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", c.Name, c.Title, c.Help)
	}
	b.WriteString("\n")
}
