package main

import (
	"strings"

	"github.com/spf13/cobra"
)

func cutCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "cut HOST[,HOST] [HOST[,HOST]]",
		Short: "Cut hosts from everybody, or two groups from each other; adds to earlier cuts",
		Args:  args(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, a []string) error {
			l, err := t.open()
			if err != nil {
				return err
			}
			groups := [2][]string{}
			for i, g := range a {
				groups[i] = strings.Split(g, ",")
			}
			return l.Cut(cmd.Context(), groups[0], groups[1])
		},
	}
}

func healCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "heal",
		Short: "Mend all cuts",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := t.open()
			if err != nil {
				return err
			}
			return l.Heal(cmd.Context())
		},
	}
}

func rateCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "rate HOST RATE|off",
		Short: "Cap a host's link in both directions, e.g. 1gbit",
		Args:  args(cobra.ExactArgs(2)),
		RunE: func(_ *cobra.Command, a []string) error {
			l, err := t.open()
			if err != nil {
				return err
			}
			return l.Rate(a[0], a[1])
		},
	}
}
