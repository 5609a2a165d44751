package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/vzcluster/vzcluster/e2e/lab"
)

func statusCommand(t *target) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the hosts and what runs on them",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := t.open()
			if err != nil {
				return err
			}
			st, err := l.Status()
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(st)
			}
			return printStatus(cmd.OutOrStdout(), st)
		},
	}
	cmd.Flags().BoolVarP(&asJSON, "json", "j", false, "one JSON document")
	return cmd
}

func printStatus(out io.Writer, st lab.Status) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "HOST\tIP\tPOWER\tLINK\tPROCESSES")
	for _, h := range st.Hosts {
		power, link := "off", "full"
		if h.On {
			power = fmt.Sprintf("on (%d)", h.Pid)
		}
		if h.Rate != "" {
			link = h.Rate
		}
		var procs []string
		for _, p := range h.Processes {
			if p.Running {
				procs = append(procs, fmt.Sprintf("%s %d", p.Role, p.Pid))
			} else {
				procs = append(procs, fmt.Sprintf("%s ended: %s", p.Role, p.Exit))
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", h.Name, h.IP, power, link, strings.Join(procs, ", "))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, c := range st.Cuts {
		fmt.Fprintln(out, "cut:", c)
	}
	return nil
}

func logsCommand(t *target) *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use:   "logs HOST",
		Short: "Print the logs of a host's processes",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			l, err := t.open()
			if err != nil {
				return err
			}
			if role == "" {
				role = "*"
			}
			files, err := filepath.Glob(l.LogPath(a[0], role))
			if err != nil {
				return usageError{err}
			}
			if len(files) == 0 {
				return fmt.Errorf("no logs of %s", a[0])
			}
			for _, name := range files {
				if err := printLog(cmd.OutOrStdout(), name, len(files) > 1); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&role, "role", "", "only that of master, node or keeper")
	return cmd
}

func printLog(out io.Writer, name string, title bool) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if title {
		fmt.Fprintf(out, "==> %s <==\n", filepath.Base(name))
	}
	_, err = io.Copy(out, f)
	return err
}
