package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// listStandard are the columns shown without -o.
const listStandard = "ctid,name,node,status,nproc,ram,ip,hostname"

func (a *app) listCommand() *cobra.Command {
	var l listFlags
	var all, stopped bool
	var node string
	cmd := &cobra.Command{
		Use:   "list [CTID...]",
		Short: "list containers, as vzlist does: running ones unless -a",
		Long: `list containers, as vzlist does. Without -a, -S or operands only running ones are shown.
With -j the document is an array of records, or with -o of objects with just these fields.`,
		Example: "  vzctl-cluster list -a -o ctid,node,status,ram -s -ram -H",
		Args:    cobra.ArbitraryArgs,
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			if done, err := checkList(a, &l, containerColumns(), listStandard); done || err != nil {
				return err
			}
			docs, err := a.listed(cmd.Context(), args, node)
			if err != nil {
				return err
			}
			docs = slices.DeleteFunc(docs, func(d containerDoc) bool {
				running := d.State == cluster.ContainerRunning
				switch {
				case stopped:
					return d.State != cluster.ContainerStopped
				case all || len(args) > 0:
					return false
				}
				return !running
			})
			return table(a, &l, containerColumns(), listStandard, docs)
		}),
		ValidArgsFunction: a.completeContainers,
	}
	f := cmd.Flags()
	f.BoolVarP(&all, "all", "a", false, "all containers")
	f.BoolVarP(&stopped, "stopped", "S", false, "only stopped ones")
	f.StringVarP(&node, "node", "n", "", "only those of a `NODE`")
	l.register(f)
	a.completeNodeFlag(cmd, "node")
	return cmd
}

// listed returns all containers (of a node), or those named.
func (a *app) listed(ctx context.Context, names []string, node string) ([]containerDoc, error) {
	if len(names) == 0 {
		return a.containers(ctx, "", node)
	}
	var docs []containerDoc
	for _, n := range names {
		d, err := a.container(ctx, n)
		if err != nil {
			return nil, err
		}
		if node == "" || d.Node == node {
			docs = append(docs, d)
		}
	}
	return docs, nil
}

// containerColumns are vzlist's columns as far as they make sense here, and those of a cluster.
func containerColumns() []cli.Column[containerDoc] {
	type d = containerDoc
	text := func(name, title, help string, f func(d) string) cli.Column[d] {
		return cli.Column[d]{Name: name, Title: title, Help: help, Value: func(r d) any { return f(r) }}
	}
	num := func(name, title, help string, f func(d) uint64, show func(uint64) string) cli.Column[d] {
		c := cli.Column[d]{Name: name, Title: title, Help: help, Right: true, Value: func(r d) any { return f(r) }}
		if show != nil {
			c.Text = func(r d) string { return show(f(r)) }
		}
		return c
	}
	flag := func(name, title, help string, f func(d) bool) cli.Column[d] {
		return cli.Column[d]{Name: name, Title: title, Help: help, Value: func(r d) any { return f(r) }, Text: func(r d) string { return yesNo(f(r)) }}
	}
	// used is a figure of the last report; there is none for a container that does not run.
	used := func(name, title, help string, f func(*cluster.Usage) uint64, show func(uint64) string) cli.Column[d] {
		c := num(name, title, help, func(r d) uint64 {
			if r.Usage == nil {
				return 0
			}
			return f(r.Usage)
		}, nil)
		c.Text = func(r d) string {
			if r.Usage == nil {
				return ""
			}
			return show(f(r.Usage))
		}
		return c
	}
	plain := func(n uint64) string { return fmt.Sprint(n) }
	return []cli.Column[d]{
		num("ctid", "CTID", "number", func(r d) uint64 { n, _ := cli.ParseCount(r.CTID); return n }, nil),
		text("name", "NAME", "name", func(r d) string { return r.Name }),
		text("node", "NODE", "the node that owns it", func(r d) string { return r.Node }),
		text("status", "STATUS", "creating, stopped, running, destroying or failed; unknown if its node is silent", containerDoc.status),
		text("want", "WANT", "what was ordered: stopped or running", func(r d) string { return string(r.Want) }),
		used("nproc", "NPROC", "processes and threads now", func(u *cluster.Usage) uint64 { return u.Pids }, plain),
		text("ip", "IP_ADDR", "addresses", func(r d) string { return joined(r.Spec.Net.Addresses) }),
		text("hostname", "HOSTNAME", "host name inside", func(r d) string { return r.Spec.Hostname }),
		text("ostemplate", "OSTEMPLATE", "what it was made from", func(r d) string { return r.Spec.Template }),
		num("ram", "RAM", "memory promised", func(r d) uint64 { return r.Spec.Resources.MemoryBytes }, cli.FormatSize),
		num("swap", "SWAP", "swap on top", func(r d) uint64 { return r.Spec.SwapBytes }, cli.FormatSize),
		num("diskspace", "DISKSPACE", "disk space promised", func(r d) uint64 { return r.Spec.Resources.DiskBytes }, cli.FormatSize),
		{Name: "cpus", Title: "CPUS", Help: "CPUs promised", Right: true,
			Value: func(r d) any { return float64(r.Spec.Resources.CPUMilli) / 1000 },
			Text:  func(r d) string { return cli.FormatThousandths(r.Spec.Resources.CPUMilli) }},
		num("cpuunits", "CPUUNITS", "CPU weight", func(r d) uint64 { return r.Spec.CPUUnits }, nil),
		num("cpulimit", "CPULIMIT", "per cent of one CPU", func(r d) uint64 { return r.Spec.CPULimit }, nil),
		num("numproc", "NUMPROC", "limit of processes and threads", func(r d) uint64 { return r.Spec.NumProc }, nil),
		used("ramused", "RAM_USED", "memory in use", func(u *cluster.Usage) uint64 { return u.MemoryBytes }, cli.HumanSize),
		used("diskused", "DISK_USED", "disk space in use", func(u *cluster.Usage) uint64 { return u.DiskBytes }, cli.HumanSize),
		used("cputime", "CPU_TIME", "CPU time used since start; ns in JSON", func(u *cluster.Usage) uint64 { return u.CPUNanos }, seconds),
		used("rx", "RX", "bytes received", func(u *cluster.Usage) uint64 { return u.NetRxBytes }, cli.HumanSize),
		used("tx", "TX", "bytes sent", func(u *cluster.Usage) uint64 { return u.NetTxBytes }, cli.HumanSize),
		flag("onboot", "ONBOOT", "start again after the node was booted", func(r d) bool { return r.Spec.OnBoot }),
		flag("privileged", "PRIVILEGED", "without a user namespace", func(r d) bool { return r.Spec.Privileged }),
		text("bridge", "BRIDGE", "the node's bridge", func(r d) string { return r.Spec.Net.Bridge }),
		text("mac", "MAC", "Ethernet address", func(r d) string { return r.Spec.Net.MAC }),
		text("gateway", "GATEWAY", "default gateway", func(r d) string { return r.Spec.Net.Gateway }),
		text("nameserver", "NAMESERVER", "name servers", func(r d) string { return joined(r.Spec.Net.Nameserver) }),
		num("epoch", "EPOCH", "how often the right to run it changed hands", func(r d) uint64 { return uint64(r.Epoch) }, nil),
		text("migration", "MIGRATION", "its open migration", func(r d) string { return r.Migration }),
		text("created", "CREATED", "when it was made", func(r d) string { return stamp(r.Created) }),
		text("changed", "CHANGED", "when its record changed last", func(r d) string { return stamp(r.Changed) }),
		text("reason", "REASON", "why the last order failed", func(r d) string { return r.Reason }),
	}
}
