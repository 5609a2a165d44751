package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/master"
	"github.com/vzcluster/vzcluster/pkg/migrate"
	"github.com/vzcluster/vzcluster/pkg/scheduler"
	"github.com/vzcluster/vzcluster/pkg/store/raftlog"
)

// options are the command line.
type options struct {
	id, listen, advertise, raftListen, raftAdvertise, dataDir, logLevel string

	bootstrap bool
	join      []string
	leases    master.Leases
	timeouts  migrate.Timeouts
	cpu       float64
	diskLimit time.Duration
	store     backend
}

func command() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "vzmaster --id NAME --listen HOST:PORT --raft-listen HOST:PORT --data-dir DIR [--bootstrap] [--join HOST:PORT,...]",
		Short: "A master of the cluster: state, placement, migrations",
		Long: "A master of the cluster. The first one is started with --bootstrap, and all with --join and the API addresses of the others.\n" +
			"Restarting with the same command line just goes on. Use 1, 3 or 5 masters; one that joins gets a vote when it has caught up\n" +
			"and an odd number of voters results. A master whose data directory is lost, a copy or an older state is refused by the others:\n" +
			"take it out with 'vzctl-cluster master remove', then start it again with an empty directory.\n\n" +
			"With --store etcd the state is in an etcd that is there already: masters need neither --join nor --data-dir, any number of them\n" +
			"will do, and the first one of a new cluster is started with --bootstrap.",
		Version:       cluster.Version,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(c *cobra.Command, _ []string) error { return o.run(c.Context()) },
	}
	c.AddCommand(resyncCommand(), recoverCommand())
	f := c.Flags()
	f.StringVar(&o.id, "id", "", "name of this master, for ever (default: the host's name)")
	f.StringVar(&o.listen, "listen", ":"+master.DefaultPort, "address of the API")
	f.StringVar(&o.advertise, "advertise", "", "address of the API as clients, nodes and other masters reach it (default: --listen)")
	f.StringVar(&o.raftListen, "raft-listen", ":"+master.DefaultRaftPort, "address of raft; without --raft-advertise it must name a host that the other masters can dial")
	f.StringVar(&o.raftAdvertise, "raft-advertise", "", "address of raft as the other masters reach it (default: --raft-listen)")
	f.StringVar(&o.dataDir, "data-dir", "/var/lib/vzmaster", "directory of the log and its snapshots")
	f.DurationVar(&o.diskLimit, "disk-limit", raftlog.DefaultDiskLimit, "the process ends when one write to --data-dir takes longer, so that another master leads")
	f.BoolVar(&o.bootstrap, "bootstrap", false, "make a new cluster if --data-dir (with etcd: --etcd-prefix) is empty")
	o.store.flags(f)
	f.StringSliceVar(&o.join, "join", nil, "API addresses of other masters: to join, and to ask before --bootstrap makes a cluster")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error; the log goes to stderr")
	f.DurationVar(&o.leases.Period, "report-period", master.DefaultLeases.Period, "how often nodes report")
	f.DurationVar(&o.leases.Lease, "lease", master.DefaultLeases.Lease, "how long a node may be silent before it counts as offline")
	f.DurationVar(&o.timeouts.Prepare, "prepare-timeout", migrate.DefaultTimeouts.Prepare, "a migration is aborted if its preparation takes longer")
	f.DurationVar(&o.timeouts.Copy, "copy-timeout", migrate.DefaultTimeouts.Copy, "a migration is aborted if copying takes longer")
	f.DurationVar(&o.timeouts.Switch, "switch-timeout", migrate.DefaultTimeouts.Switch, "a migration is aborted if freeze, dump and restore take longer")
	f.DurationVar(&o.timeouts.Finish, "finish-timeout", migrate.DefaultTimeouts.Finish, "an alarm is raised if a decided migration takes longer to end")
	f.Float64Var(&o.cpu, "cpu-overcommit", scheduler.DefaultCPUOvercommit, "how many times a node's CPUs may be promised")
	return c
}

// run is the master until ctx ends.
func (o *options) run(ctx context.Context) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return fmt.Errorf("--log-level %q: use debug, info, warn or error", o.logLevel)
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})))
	if err := o.complete(); err != nil {
		return err
	}
	var m *master.Master
	log, members, err := o.openLog(func(ctx context.Context, p cluster.Presence, peers []string) (bool, error) {
		return m.Admit(ctx, p, peers) // asked when m runs
	})
	if err != nil {
		return err
	}
	lis, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer lis.Close()
	m, err = master.New(master.Config{ID: o.id, Advertise: o.advertise, RaftAdvertise: o.raftAdvertise, Join: o.join,
		Leases: o.leases, Timeouts: o.timeouts, CPUOvercommit: o.cpu}, log, members, lis)
	if err != nil {
		return err
	}
	slog.Info("vzmaster", "version", cluster.Version, "id", o.id, "api", o.advertise, "store", o.store.kind, "raft", o.raftAdvertise)
	return m.Run(ctx)
}

// complete fills in what follows from other flags.
func (o *options) complete() error {
	if err := o.store.check(); err != nil {
		return err
	}
	if o.id == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("--id is not given and the host has no name: %w", err)
		}
		o.id, _, _ = strings.Cut(strings.ToLower(host), ".")
	}
	if o.advertise == "" {
		o.advertise = o.listen
	}
	switch {
	case !o.store.rafts():
		o.raftAdvertise = ""
	case o.raftAdvertise == "":
		o.raftAdvertise = o.raftListen
	}
	return nil
}
