package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

const masterStandard = "id,role,status,lag,knows,api,raft,version"

// masterPoll is how often the masters are asked while one is waited for.
const masterPoll = 500 * time.Millisecond

func (a *app) masterCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "master", Short: "the masters of the cluster", Args: cobra.ArbitraryArgs, RunE: group}
	cmd.AddCommand(a.masterListCommand(), a.masterAddCommand(), a.masterRemoveCommand(), a.masterStepDownCommand())
	return cmd
}

// mastersOf reads an answer.
func mastersOf(r *vzpb.ListMastersResponse) ([]cluster.MasterInfo, error) {
	var docs []cluster.MasterInfo
	return docs, decode(r.GetJson(), &docs)
}

func (a *app) listMasters(ctx context.Context) ([]cluster.MasterInfo, error) {
	var resp *vzpb.ListMastersResponse
	err := a.read(ctx, func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) (err error) {
		resp, err = stub.ListMasters(ctx, &vzpb.ListMastersRequest{}, opts...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return mastersOf(resp)
}

func (a *app) masterListCommand() *cobra.Command {
	var l listFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list the masters, and how each of them stands",
		Args:  operands(),
		RunE: runE(func(cmd *cobra.Command, _ []string) error {
			if done, err := checkList(a, &l, masterColumns(), masterStandard); done || err != nil {
				return err
			}
			docs, err := a.listMasters(cmd.Context())
			if err != nil {
				return err
			}
			return table(a, &l, masterColumns(), masterStandard, docs)
		}),
	}
	l.register(cmd.Flags())
	return cmd
}

func masterColumns() []cli.Column[cluster.MasterInfo] {
	type d = cluster.MasterInfo
	text := func(name, title, help string, f func(d) string) cli.Column[d] {
		return cli.Column[d]{Name: name, Title: title, Help: help, Value: func(r d) any { return f(r) }}
	}
	state := func(r d) cluster.MasterState {
		if r.State == nil {
			return cluster.MasterState{}
		}
		return *r.State
	}
	return []cli.Column[d]{
		text("id", "MASTER", "its id", func(r d) string { return r.ID }),
		text("role", "ROLE", "leader, voter, or follower (without a vote so far)", masterRole),
		text("status", "STATUS", "up, or silent: it does not answer", func(r d) string {
			if r.State == nil {
				return "silent"
			}
			return "up"
		}),
		{Name: "lag", Title: "LAG", Help: "log entries that it is behind", Right: true, Value: func(r d) any { return r.Lag }},
		{Name: "knows", Title: "KNOWS", Help: "masters that it has heard of; it votes for no other", Right: true,
			Value: func(r d) any { return int64(len(state(r).Knows)) }},
		{Name: "starts", Title: "STARTS", Help: "starts on its data directory", Right: true, Value: func(r d) any { return r.Starts }},
		text("api", "API", "address of its API", func(r d) string { return r.APIAddr }),
		text("raft", "RAFT", "address of its raft; none with etcd", func(r d) string { return r.RaftAddr }),
		text("version", "VERSION", "of its program", func(r d) string { return state(r).Version }),
		text("error", "ERROR", "why it does not answer", func(r d) string { return r.Error }),
	}
}

func masterRole(r cluster.MasterInfo) string {
	switch {
	case r.Leader:
		return "leader"
	case r.Voter:
		return "voter"
	}
	return "follower"
}

func (a *app) masterAddCommand() *cobra.Command {
	var api, raft string
	var detach bool
	wait := orderWait
	cmd := &cobra.Command{
		Use:   "add ID --api HOST:PORT [--raft HOST:PORT]",
		Short: "take a master in; it gets a vote when it has caught up and an odd number of voters results",
		Long: "take a master in. A master that is started with --join does this by itself; here it can be made known before it is started.\n" +
			"It follows without a vote, so an unreachable one does no harm, until it has caught up and an odd number of voters results.",
		Args: operands("ID"),
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			req := &vzpb.AddMasterRequest{Id: args[0], ApiAddr: api, RaftAddr: raft}
			err := a.read(cmd.Context(), func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) error {
				_, err := stub.AddMaster(ctx, req, opts...) // the same again does nothing
				return err
			})
			if err != nil {
				return err
			}
			if detach {
				return a.result(req, "master %s is taken in; it gets a vote when it has caught up", args[0])
			}
			return a.awaitMaster(cmd.Context(), args[0], wait)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&api, "api", "", "address of its API, as the other masters reach it, `HOST:PORT`")
	f.StringVar(&raft, "raft", "", "address of its raft, as the other masters reach it, `HOST:PORT`; none with etcd")
	f.BoolVar(&detach, "detach", false, "don't wait until it has caught up")
	f.Var(&param{typ: "DURATION", set: func(s string) (err error) { wait, err = parseDuration(s); return err }}, "wait",
		"how long to wait until it has caught up (default 10m)")
	return cmd
}

// awaitMaster waits until a master has caught up: it votes, or only waits for another one to make the number odd.
func (a *app) awaitMaster(ctx context.Context, id string, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		docs, err := a.listMasters(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(docs, func(m cluster.MasterInfo) bool { return m.ID == id })
		if i < 0 {
			return cli.Errorf(cli.Conflict, "master %s was removed in the meantime", id)
		}
		m := docs[i]
		switch {
		case m.Voter && m.State != nil:
			return a.result(m, "master %s votes", id)
		case m.State != nil && m.Lag == 0 && m.Instance != "" && voters(docs)%2 == 1 && followers(docs) == 1:
			return a.result(m, "master %s has caught up and follows; it gets a vote together with the next one: an even number of voters gains nothing", id)
		}
		select {
		case <-time.After(masterPoll):
		case <-ctx.Done():
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return cli.Errorf(cli.Interrupted, "interrupted; master %s was taken in and has not caught up yet; see 'master list'", id)
			}
			return cli.Errorf(cli.Partial, "master %s was taken in, but has not caught up after %v (%s); see 'master list'; 'master remove %s' takes it out again",
				id, wait, why(m.Error), id)
		}
	}
}

func voters(docs []cluster.MasterInfo) (n int) {
	for _, m := range docs {
		if m.Voter {
			n++
		}
	}
	return n
}

func followers(docs []cluster.MasterInfo) int { return len(docs) - voters(docs) }

func (a *app) masterRemoveCommand() *cobra.Command {
	var o order
	var force bool
	cmd := &cobra.Command{
		Use:   "remove ID...",
		Short: "take masters out; a leader among them hands over first",
		Long: "take masters out. Those that remain must be able to decide without them: a quorum of them must answer, and their number must be odd\n" +
			"unless --force is given. A leader hands over first. A master that was removed can only come back with an empty data directory.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return hinted(cmd, "ID missing")
			}
			return nil
		},
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			var resp *vzpb.ListMastersResponse
			req := &vzpb.RemoveMasterRequest{OpKey: o.key(), Ids: args, Force: force}
			err := a.mutate(cmd.Context(), o.key(), func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) (err error) {
				resp, err = stub.RemoveMaster(ctx, req, opts...)
				return err
			})
			if err != nil {
				return err
			}
			docs, err := mastersOf(resp)
			if err != nil {
				return err
			}
			return a.result(docs, "%s removed; %d of %d masters vote", strings.Join(args, ", "), voters(docs), len(docs))
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "also if an even number of voters remains")
	o.register(cmd.Flags())
	return cmd
}

// stepDownDoc is the JSON document of a step-down.
type stepDownDoc struct {
	Was string `json:"was"`
	Op  string `json:"op"`
}

func (a *app) masterStepDownCommand() *cobra.Command {
	var o order
	var to string
	cmd := &cobra.Command{
		Use:   "step-down",
		Short: "have the leader hand over to another master",
		Args:  operands(),
		RunE: runE(func(cmd *cobra.Command, _ []string) error {
			var resp *vzpb.StepDownResponse
			req := &vzpb.StepDownRequest{OpKey: o.key(), To: to}
			err := a.mutate(cmd.Context(), o.key(), func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) (err error) {
				resp, err = stub.StepDown(ctx, req, opts...)
				return err
			})
			if err != nil {
				return err
			}
			return a.result(stepDownDoc{resp.GetWas(), o.key()}, "%s", fmt.Sprintf("master %s has handed over", resp.GetWas()))
		}),
	}
	cmd.Flags().StringVar(&to, "to", "", "who is to lead then, `ID` (default: whoever is the most up to date)")
	o.register(cmd.Flags())
	return cmd
}
