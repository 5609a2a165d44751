package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/pflag"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate"
	"github.com/vzcluster/vzcluster/pkg/node"
	"github.com/vzcluster/vzcluster/pkg/node/container"
)

// flags are the agent's settings.
type flags struct {
	node      node.Config
	container container.Config
	fault     string
	verbose   bool
}

func (f *flags) register(fs *pflag.FlagSet) {
	host, _ := os.Hostname()
	fs.StringVar(&f.node.Name, "name", host, "this node's name in the cluster")
	fs.StringSliceVar(&f.node.Masters, "masters", nil, "API addresses of the masters: host:port,...")
	fs.StringVar(&f.node.Listen, "listen", ":7710", "address of the service for masters and other nodes")
	fs.StringVar(&f.node.Advertise, "advertise", "", "host:port that others are told (default: from --listen)")
	fs.StringVar(&f.node.DataDir, "data-dir", "/vz", "where containers, templates and logs are kept")
	fs.StringVar(&f.node.RunDir, "run-dir", "/run/vzcluster", "state that must not survive a boot; on a tmpfs, since memory images pass through it")
	fs.StringVar(&f.container.Bridge, "bridge", "vzbr0", "bridge that containers are attached to")
	fs.StringVar(&f.container.Gateway, "gateway", "", "default route of containers that name none")
	fs.StringSliceVar(&f.container.Nameservers, "nameserver", nil, "name servers of containers that name none")
	fs.StringVar(&f.container.CgroupParent, "cgroup-parent", "vzcluster", "parent of the containers' cgroups")
	fs.StringVar(&f.container.CRIU, "criu", "", "the criu binary (default: that of make deps, else criu from PATH)")
	fs.Uint64Var(&f.container.Capacity.CPUMilli, "capacity-cpu", 0, "thousandths of a CPU that containers may be promised (default: all)")
	fs.Uint64Var(&f.container.Capacity.MemoryBytes, "capacity-memory", 0, "bytes of memory that containers may be promised (default: probed)")
	fs.Uint64Var(&f.container.Capacity.DiskBytes, "capacity-disk", 0, "bytes of disk that containers may be promised (default: probed)")
	fs.BoolVarP(&f.verbose, "verbose", "v", false, "log more")
	fs.StringVar(&f.fault, "fault", "", "for tests: corrupt-image-once damages one byte of the next memory image that is sent")
	_ = fs.MarkHidden("fault") // the flag was defined one line before
}

func (f *flags) run(ctx context.Context) error {
	level := slog.LevelInfo
	if f.verbose {
		level = slog.LevelDebug
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})))
	f.node.Faults = &migrate.Faults{}
	switch f.fault {
	case "":
	case "corrupt-image-once":
		f.node.Faults.CorruptImageOnce.Store(true)
	default:
		return fmt.Errorf("--fault %s: not known", f.fault)
	}
	f.container.DataDir, f.container.RunDir = f.node.DataDir, f.node.RunDir
	rt, err := container.New(f.container)
	if err != nil {
		return err
	}
	f.node.Runtime = rt
	agent, err := node.New(f.node)
	if err != nil {
		return err
	}
	slog.Info("vznode", "version", cluster.Version, "name", f.node.Name)
	return agent.Run(ctx)
}
