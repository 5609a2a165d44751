package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/vzcluster/vzcluster/pkg/cli"
)

// completeTime is how long the shell's completion may look for a master: nobody waits longer for a Tab.
const completeTime = 2 * time.Second

type completion = func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective)

// suggest asks the cluster for words; when it does not answer there are none.
func (a *app) suggest(cmd *cobra.Command, words func(ctx context.Context) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	a.timeout = completeTime
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTime)
	defer cancel()
	w, err := words(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return w, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeContainers(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.suggest(cmd, func(ctx context.Context) (words []string, err error) {
		docs, err := a.containers(ctx, "", "")
		for _, d := range docs {
			words = append(words, d.CTID+"\t"+cli.Line(d.Name))
			if d.Name != "" {
				words = append(words, d.Name)
			}
		}
		return words, err
	})
}

func (a *app) completeNodes(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.suggest(cmd, func(ctx context.Context) (words []string, err error) {
		docs, err := a.nodes(ctx, "")
		for _, d := range docs {
			words = append(words, d.Name)
		}
		return words, err
	})
}

// first completes the first operand only.
func first(c completion) completion {
	return func(cmd *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return c(cmd, args, to)
	}
}

func (a *app) completeContainer(cmd *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
	return first(a.completeContainers)(cmd, args, to)
}

func (a *app) completeNode(cmd *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
	return first(a.completeNodes)(cmd, args, to)
}

// completeNodeFlag completes the value of a flag with names of nodes.
func (a *app) completeNodeFlag(cmd *cobra.Command, flag string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, a.completeNodes) // fails only for a flag that does not exist
}
