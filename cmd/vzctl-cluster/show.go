package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vzcluster/vzcluster/pkg/cli"
)

func (a *app) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "show CTID",
		Short:             "everything about one container",
		Args:              operands("CTID"),
		RunE:              runE(func(cmd *cobra.Command, args []string) error { return a.show(cmd.Context(), args[0]) }),
		ValidArgsFunction: a.completeContainer,
	}
}

func (a *app) show(ctx context.Context, name string) error {
	d, err := a.container(ctx, name)
	if err != nil {
		return err
	}
	if a.json {
		return a.document(d)
	}
	s := d.Spec
	rows := [][2]string{
		{"ctid", d.CTID}, {"name", d.Name}, {"node", d.Node}, {"status", d.status()}, {"wanted", string(d.Want)},
		{"reason", d.Reason}, {"migration", d.Migration}, {"epoch", fmt.Sprint(d.Epoch)},
		{"ostemplate", s.Template}, {"hostname", s.Hostname},
		{"cpus", cli.FormatThousandths(s.Resources.CPUMilli)}, {"cpuunits", nonzero(s.CPUUnits, "")}, {"cpulimit", nonzero(s.CPULimit, "%")},
		{"ram", cli.FormatSize(s.Resources.MemoryBytes)}, {"swap", cli.FormatSize(s.SwapBytes)}, {"diskspace", cli.FormatSize(s.Resources.DiskBytes)},
		{"numproc", nonzero(s.NumProc, "")}, {"ip", strings.Join(s.Net.Addresses, " ")}, {"gateway", s.Net.Gateway},
		{"nameserver", strings.Join(s.Net.Nameserver, " ")}, {"bridge", s.Net.Bridge}, {"mac", s.Net.MAC},
		{"onboot", yesNo(s.OnBoot)}, {"privileged", yesNo(s.Privileged)}, {"init", strings.Join(s.Init, " ")},
		{"id range", idRange(d.IDBase)}, {"created", stamp(d.Created)}, {"changed", stamp(d.Changed)},
	}
	if u := d.Usage; u != nil {
		rows = append(rows, [][2]string{
			{"processes", fmt.Sprint(u.Pids)}, {"ram used", cli.HumanSize(u.MemoryBytes)}, {"disk used", cli.HumanSize(u.DiskBytes)},
			{"cpu time", seconds(u.CPUNanos)}, {"received", cli.HumanSize(u.NetRxBytes)}, {"sent", cli.HumanSize(u.NetTxBytes)},
		}...)
	}
	return a.pairs(rows)
}

func nonzero(n uint64, unit string) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n) + unit
}

// idRange names the user ids on the host that are the container's.
func idRange(base uint32) string {
	if base == 0 {
		return ""
	}
	return fmt.Sprintf("%d-%d", base, base+65535)
}

// seconds writes nanoseconds as a duration for people.
func seconds(ns uint64) string {
	return time.Duration(ns).Round(10 * time.Millisecond).String()
}

func joined(s []string) string { return strings.Join(s, ",") }
