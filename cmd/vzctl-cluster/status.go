package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "who leads, and how many nodes, containers and migrations there are",
		Args:  operands(),
		RunE:  runE(func(cmd *cobra.Command, _ []string) error { return a.status(cmd.Context()) }),
	}
}

func (a *app) status(ctx context.Context) error {
	var resp *vzpb.StatusResponse
	err := a.read(ctx, func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) (err error) {
		resp, err = stub.Status(ctx, &vzpb.StatusRequest{}, opts...)
		return err
	})
	if err != nil {
		return err
	}
	var s cluster.Status
	if err := decode(resp.GetJson(), &s); err != nil {
		return err
	}
	if a.json {
		return a.document(json.RawMessage(resp.GetJson()))
	}
	masters := make([]string, len(s.Masters))
	for i, m := range s.Masters {
		masters[i] = fmt.Sprintf("%s (%s)", m.ID, m.APIAddr)
	}
	lines := [][2]string{
		{"leader", leaderText(s)},
		{"masters", strings.Join(masters, ", ")},
		{"nodes", counts(s.Nodes)},
		{"containers", counts(s.Containers)},
		{"migrations", fmt.Sprintf("%d open", s.Migrations)},
		{"templates", fmt.Sprint(s.Templates)},
		{"version", s.Version},
	}
	for _, alarm := range s.Alarms {
		lines = append(lines, [2]string{"ALARM", alarm})
	}
	return a.pairs(lines)
}

// leaderText says who leads. Of a stale answer's leader only the address is known.
func leaderText(s cluster.Status) string {
	switch {
	case s.LeaderAddr == "":
		return "nobody, as far as is known"
	case s.Term == 0:
		return fmt.Sprintf("%s (%s)", s.Leader, s.LeaderAddr)
	}
	return fmt.Sprintf("%s (%s), term %d, since %s", s.Leader, s.LeaderAddr, s.Term, stamp(s.LedSince))
}

// counts writes "2 running, 1 stopped".
func counts(m map[string]int) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if m[k] != 0 {
			parts = append(parts, fmt.Sprintf("%d %s", m[k], k))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// stamp writes a time for people, in their own zone; empty if there is none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}
