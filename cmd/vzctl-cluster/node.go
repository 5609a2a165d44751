package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// nodeDoc is a node in JSON: its record, and what the leader knows of it now.
type nodeDoc struct {
	cluster.Node
	Live *cluster.NodeLive `json:"live,omitempty"` // absent if it is not connected
	Op   string            `json:"op,omitempty"`
}

const nodeStandard = "name,status,cordoned,running,cpus,ram,disk,criu,kernel,address"

func (a *app) nodeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "node", Short: "the hosts of the cluster", Args: cobra.ArbitraryArgs, RunE: group}
	cmd.AddCommand(a.nodeListCommand(), a.nodeShowCommand(), a.cordonCommand(true), a.cordonCommand(false))
	return cmd
}

func nodeOf(r *vzpb.NodeResponse) (nodeDoc, error) {
	var d nodeDoc
	if err := decode(r.GetJson(), &d.Node); err != nil {
		return d, err
	}
	if l := r.GetLiveJson(); len(l) > 0 {
		d.Live = &cluster.NodeLive{}
		if err := decode(l, d.Live); err != nil {
			return d, err
		}
	}
	return d, nil
}

// nodes asks for one node by name, or for all.
func (a *app) nodes(ctx context.Context, name string) ([]nodeDoc, error) {
	var resp *vzpb.ListNodesResponse
	err := a.read(ctx, func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) (err error) {
		resp, err = stub.ListNodes(ctx, &vzpb.ListNodesRequest{Name: name}, opts...)
		return err
	})
	if err != nil {
		return nil, err
	}
	docs := make([]nodeDoc, 0, len(resp.GetNodes()))
	for _, r := range resp.GetNodes() {
		d, err := nodeOf(r)
		if err != nil {
			return nil, err
		}
		docs = append(docs, d)
	}
	if name != "" && len(docs) != 1 {
		return nil, cli.Errorf(cli.NotFound, "no node %q", name)
	}
	return docs, nil
}

func (a *app) nodeListCommand() *cobra.Command {
	var l listFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list the nodes",
		Args:  operands(),
		RunE: runE(func(cmd *cobra.Command, _ []string) error {
			if done, err := checkList(a, &l, nodeColumns(), nodeStandard); done || err != nil {
				return err
			}
			docs, err := a.nodes(cmd.Context(), "")
			if err != nil {
				return err
			}
			return table(a, &l, nodeColumns(), nodeStandard, docs)
		}),
	}
	l.register(cmd.Flags())
	return cmd
}

func nodeColumns() []cli.Column[nodeDoc] {
	type d = nodeDoc
	text := func(name, title, help string, f func(d) string) cli.Column[d] {
		return cli.Column[d]{Name: name, Title: title, Help: help, Value: func(r d) any { return f(r) }}
	}
	size := func(name, title, help string, f func(d) uint64) cli.Column[d] {
		return cli.Column[d]{Name: name, Title: title, Help: help, Right: true, Value: func(r d) any { return f(r) },
			Text: func(r d) string { return cli.HumanSize(f(r)) }}
	}
	live := func(r d) cluster.NodeLive {
		if r.Live == nil {
			return cluster.NodeLive{}
		}
		return *r.Live
	}
	return []cli.Column[d]{
		text("name", "NODE", "name", func(r d) string { return r.Name }),
		text("status", "STATUS", "online, unknown or offline", func(r d) string { return string(r.State) }),
		{Name: "cordoned", Title: "CORDONED", Help: "takes no new containers", Value: func(r d) any { return r.Cordoned },
			Text: func(r d) string { return yesNo(r.Cordoned) }},
		{Name: "running", Title: "RUNNING", Help: "containers that run there", Right: true, Value: func(r d) any { return int64(live(r).Running) }},
		{Name: "cpus", Title: "CPUS", Help: "CPUs", Right: true, Value: func(r d) any { return float64(r.Info.Capacity.CPUMilli) / 1000 },
			Text: func(r d) string { return cli.FormatThousandths(r.Info.Capacity.CPUMilli) }},
		size("ram", "RAM", "memory", func(r d) uint64 { return r.Info.Capacity.MemoryBytes }),
		size("disk", "DISK", "disk space for containers", func(r d) uint64 { return r.Info.Capacity.DiskBytes }),
		size("ramused", "RAM_USED", "memory in use", func(r d) uint64 { return live(r).Usage.MemoryBytes }),
		size("diskused", "DISK_USED", "disk space in use", func(r d) uint64 { return live(r).Usage.DiskBytes }),
		text("criu", "CRIU", "version of CRIU; none: no live migration", func(r d) string { return r.Info.Features.CRIU }),
		text("kernel", "KERNEL", "kernel", func(r d) string { return r.Info.Features.Kernel }),
		text("cgroup", "CGROUP", "v1, hybrid or v2", func(r d) string { return r.Info.Features.Cgroup }),
		text("arch", "ARCH", "architecture", func(r d) string { return r.Info.Features.Arch }),
		text("address", "ADDRESS", "of its agent", func(r d) string { return r.Info.Address }),
		text("version", "VERSION", "of its agent", func(r d) string { return r.Info.Version }),
		text("reason", "REASON", "why it is cordoned", func(r d) string { return r.CordonReason }),
	}
}

func (a *app) nodeShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "show NODE",
		Short:             "everything about one node, with each copy of a container that it holds",
		Args:              operands("NODE"),
		RunE:              runE(func(cmd *cobra.Command, args []string) error { return a.nodeShow(cmd.Context(), args[0]) }),
		ValidArgsFunction: a.completeNode,
	}
}

func (a *app) nodeShow(ctx context.Context, name string) error {
	docs, err := a.nodes(ctx, name)
	if err != nil {
		return err
	}
	d := docs[0]
	if a.json {
		return a.document(d)
	}
	rows := [][2]string{
		{"node", d.Name}, {"status", string(d.State)}, {"cordoned", cordonText(d)},
		{"address", d.Info.Address}, {"cpus", cli.FormatThousandths(d.Info.Capacity.CPUMilli)},
		{"ram", cli.HumanSize(d.Info.Capacity.MemoryBytes)}, {"disk", cli.HumanSize(d.Info.Capacity.DiskBytes)},
		{"kernel", d.Info.Features.Kernel}, {"criu", d.Info.Features.CRIU}, {"cgroup", d.Info.Features.Cgroup},
		{"arch", d.Info.Features.Arch}, {"version", d.Info.Version}, {"boot id", d.BootID},
		{"agent starts", fmt.Sprint(d.AgentStarts)}, {"changed", stamp(d.Changed)},
	}
	if l := d.Live; l != nil {
		rows = append(rows, [2]string{"last report", stamp(l.LastReport)}, [2]string{"lease left", l.LeaseLeft.Round(100 * time.Millisecond).String()},
			[2]string{"ram used", cli.HumanSize(l.Usage.MemoryBytes)}, [2]string{"disk used", cli.HumanSize(l.Usage.DiskBytes)},
			[2]string{"running", fmt.Sprint(l.Running)})
		for _, c := range l.Copies {
			rows = append(rows, [2]string{"copy", copyText(c)})
		}
	}
	return a.pairs(rows)
}

func cordonText(d nodeDoc) string {
	if d.Cordoned && d.CordonReason != "" {
		return "yes: " + d.CordonReason
	}
	return yesNo(d.Cordoned)
}

func copyText(c cluster.CopyInfo) string {
	parts := []string{c.CTID, "epoch " + fmt.Sprint(c.Epoch), string(c.State)}
	if c.Pid != 0 {
		parts = append(parts, fmt.Sprintf("pid %d", c.Pid))
	}
	if c.Error != "" {
		parts = append(parts, c.Error)
	}
	return strings.Join(parts, ", ")
}
