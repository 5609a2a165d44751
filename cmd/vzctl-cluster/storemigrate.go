package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store/etcdlog"
	"github.com/vzcluster/vzcluster/pkg/store/move"
)

// moveTimeout bounds a whole move.
const moveTimeout = 10 * time.Minute

// moveFlags are those of store migrate.
type moveFlags struct {
	from, to     string
	etcd         etcdlog.Access
	id, raftAddr string
	force        bool
}

func (a *app) storeMigrateCommand() *cobra.Command {
	var f moveFlags
	cmd := &cobra.Command{
		Use:   "migrate --from BACKEND --to BACKEND",
		Short: "move the cluster's state between raft and etcd; all masters must be stopped",
		Long: `move the cluster's state to the other back end. All masters must be stopped; containers run on and notice nothing.
BACKEND is etcd, or raft:DIR with the data directory of a master.

From raft, name the directories of a majority of the voting masters, raft:DIR,DIR,...: the one that knows most is taken. Directories of
other hosts may be copied here first (cp -a). Afterwards masters refuse to start on them; a copy's original does not know, so
put it out of the way yourself.
To raft, DIR is made for the master --id; start it first, the others join it with empty data directories.
The source is kept, but out of use: to go back, move again`,
		Example: `  vzctl-cluster store migrate --from raft:/var/lib/vzmaster,/root/m2,/root/m3 --to etcd --etcd-endpoints https://e1:2379,https://e2:2379
  vzctl-cluster store migrate --from etcd --etcd-endpoints https://e1:2379 --to raft:/var/lib/vzmaster --id m1 --raft-advertise 10.0.0.11:7701`,
		Args: operands(),
		RunE: runE(func(cmd *cobra.Command, _ []string) error { return a.storeMigrate(cmd.Context(), &f) }),
	}
	fl := cmd.Flags()
	fl.StringVar(&f.from, "from", "", "where the state is, `BACKEND`")
	fl.StringVar(&f.to, "to", "", "where it shall be, `BACKEND`")
	fl.StringSliceVar(&f.etcd.Endpoints, "etcd-endpoints", nil, "etcd's members, `URL,...`")
	fl.StringVar(&f.etcd.CertFile, "etcd-cert", "", "certificate by which etcd knows us, PEM `FILE`")
	fl.StringVar(&f.etcd.KeyFile, "etcd-key", "", "its key, PEM `FILE`")
	fl.StringVar(&f.etcd.CAFile, "etcd-ca", "", "who signs etcd's certificates, PEM `FILE` (default: the system's)")
	fl.StringVar(&f.etcd.Prefix, "etcd-prefix", etcdlog.DefaultPrefix, "`PREFIX` of this cluster's keys in etcd")
	fl.StringVar(&f.id, "id", "", "to raft: `NAME` of the master that the directory is for")
	fl.StringVar(&f.raftAddr, "raft-advertise", "", "to raft: that master's `HOST:PORT` for the other masters")
	fl.BoolVar(&f.force, "force", false, "from raft: go on with fewer directories, and lose what only the others know")
	return cmd
}

// raftDirs takes raft:DIR,... apart; false: it is not that.
func raftDirs(backend string) ([]string, bool) {
	list, ok := strings.CutPrefix(backend, "raft:")
	dirs := strings.Split(list, ",")
	return dirs, ok && !slices.Contains(dirs, "")
}

func (a *app) storeMigrate(ctx context.Context, f *moveFlags) error {
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	from, fromRaft := raftDirs(f.from)
	to, toRaft := raftDirs(f.to)
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	var result move.Result
	var err error
	switch {
	case len(f.etcd.Endpoints) == 0:
		return cli.Errorf(cli.Usage, "--etcd-endpoints is missing: give https://HOST:2379,...")
	case fromRaft && f.to == "etcd":
		result, err = move.ToEtcd(ctx, from, f.etcd, f.force, quiet)
	case f.from == "etcd" && toRaft && len(to) == 1:
		if err := cluster.ValidateNodeName(f.id); err != nil {
			return cli.Errorf(cli.Usage, "--id: %v", err)
		}
		if f.raftAddr == "" {
			return cli.Errorf(cli.Usage, "--raft-advertise is missing: give HOST:PORT as the other masters will reach the master %s", f.id)
		}
		result, err = move.ToRaft(ctx, f.etcd, to[0], f.id, f.raftAddr, quiet)
	default:
		return cli.Errorf(cli.Usage, "--from %q --to %q: one of them must be etcd, the other raft:DIR", f.from, f.to)
	}
	if err != nil {
		return moveError(err)
	}
	return a.moved(result)
}

// moved tells what was done and what comes next.
func (a *app) moved(r move.Result) error {
	if a.json {
		return a.document(r)
	}
	var counts []string
	for _, kind := range slices.Sorted(maps.Keys(r.Records)) {
		counts = append(counts, fmt.Sprintf("%d %s", r.Records[kind], kind))
	}
	next := "start the masters with --store etcd"
	if strings.HasPrefix(r.To, "raft:") {
		next = "start that master, then the others with empty data directories and --join"
	}
	return a.result(r, "cluster %s was moved from %s to %s: %s; next: %s", r.ClusterID, r.From, r.To, strings.Join(counts, ", "), next)
}

// moveError gives the errors of a move their codes.
func moveError(err error) error {
	var refused *move.RefusedError
	switch {
	case errors.As(err, &refused), errors.Is(err, etcdlog.ErrInUse), errors.Is(err, etcdlog.ErrNotEmpty), errors.Is(err, etcdlog.ErrEmpty), errors.Is(err, etcdlog.ErrHeld):
		return cli.Errorf(cli.Conflict, "%v; nothing was moved", err)
	case etcdlog.Unreachable(err):
		return cli.Errorf(cli.Unreachable, "etcd does not answer: %v; if the move had begun, repeat it", err)
	}
	return cli.Errorf(cli.Internal, "%v", err)
}
