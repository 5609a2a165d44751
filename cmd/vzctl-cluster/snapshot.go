package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/pkg/store/raftlog"
	"github.com/vzcluster/vzcluster/pkg/store/snapfile"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// snapshotDoc is a snapshot file in JSON.
type snapshotDoc struct {
	File string `json:"file"`
	snapfile.Header
	Records map[string]int `json:"records"` // by kind
	DataDir string         `json:"data_dir,omitempty"`
}

func (a *app) storeSnapshotCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "snapshot", Short: "the cluster's state in a file", Args: cobra.ArbitraryArgs, RunE: group}
	cmd.AddCommand(a.snapshotSaveCommand(), a.snapshotInspectCommand(), a.snapshotRestoreCommand())
	return cmd
}

func (a *app) snapshotSaveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "save FILE",
		Short: "save everything that the masters have stored",
		Long: "save everything that the masters have stored, as of one moment, into FILE, which must not exist. The cluster goes on meanwhile.\n" +
			"The file is complete and was read back when the command succeeds. It holds no container's files.",
		Args: operands("FILE"),
		RunE: runE(func(cmd *cobra.Command, args []string) error { return a.snapshotSave(cmd.Context(), args[0]) }),
	}
}

func (a *app) snapshotSave(ctx context.Context, file string) error {
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return cli.Errorf(cli.Usage, "%s exists already; choose another name", file)
	}
	part := file + ".part"
	defer os.Remove(part)
	c, err := a.cluster()
	if err != nil {
		return err
	}
	err = c.Upload(ctx, a.window(mutateTimeout), "", func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) error {
		return receiveSnapshot(ctx, stub, part, opts)
	})
	if err != nil {
		return err
	}
	doc, _, err := readSnapshot(part)
	if err != nil {
		return err
	}
	if err := os.Rename(part, file); err != nil {
		return cli.Errorf(cli.Usage, "%v", err)
	}
	doc.File = file
	return a.result(doc, "%s: revision %d, %d keys (%s)", file, doc.Rev, doc.Keys, counts(doc.Records))
}

// receiveSnapshot writes what a master sends to path.
func receiveSnapshot(ctx context.Context, stub vzpb.ClusterClient, path string, opts []grpc.CallOption) error {
	stream, err := stub.SaveSnapshot(ctx, &vzpb.SaveSnapshotRequest{}, opts...)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return cli.Errorf(cli.Usage, "%v", err)
	}
	defer f.Close()
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if _, err := f.Write(r.GetData()); err != nil {
			return cli.Errorf(cli.Usage, "%v", err)
		}
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return cli.Errorf(cli.Usage, "%v", err)
	}
	return nil
}

// readSnapshot reads and checks a file.
func readSnapshot(file string) (snapshotDoc, map[string]store.KV, error) {
	doc := snapshotDoc{File: file}
	f, err := os.Open(file)
	if err != nil {
		return doc, nil, cli.Errorf(cli.Usage, "%v", err)
	}
	defer f.Close()
	h, data, err := snapfile.Read(f)
	if err != nil {
		return doc, nil, cli.Errorf(cli.Usage, "%s: %v", file, err)
	}
	doc.Header, doc.Records = h, snapfile.Count(data)
	return doc, data, nil
}

func (a *app) snapshotInspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FILE",
		Short: "check a snapshot, and say what is in it",
		Args:  operands("FILE"),
		RunE: runE(func(_ *cobra.Command, args []string) error {
			doc, _, err := readSnapshot(args[0])
			if err != nil {
				return err
			}
			if a.json {
				return a.document(doc)
			}
			rows := [][2]string{{"file", doc.File}, {"cluster", doc.ClusterID}, {"taken", stamp(doc.Taken)}, {"by master", doc.Master},
				{"revision", fmt.Sprint(doc.Rev)}, {"term", fmt.Sprint(doc.Term)}, {"format", fmt.Sprint(doc.Format)}, {"checksum", "right"}}
			for _, kind := range slices.Sorted(maps.Keys(doc.Records)) {
				rows = append(rows, [2]string{kind, fmt.Sprint(doc.Records[kind])})
			}
			return a.pairs(rows)
		}),
	}
}

func (a *app) snapshotRestoreCommand() *cobra.Command {
	var dir, id, raftAddr string
	cmd := &cobra.Command{
		Use:   "restore FILE --data-dir DIR --id ID --raft-advertise HOST:PORT",
		Short: "make the data directory of a new cluster from a snapshot",
		Long: `make the data directory of a new cluster from a snapshot. No master of the old cluster may run any more: stop them all, and put their
data directories out of the way. Then restore on the host of the master ID, start it as ever, and the others with empty directories.
For etcd, restore into a directory here and 'store migrate' it.

What was changed since the snapshot was taken is lost. Containers run on, and nothing is started twice: every epoch is raised above all
that can have been given, and nobody acts on a container until the nodes have reported where it really is ('list' shows REASON until then).
Templates, cordons and parameters are those of the snapshot; a container that was made since is left alone and shown by 'node show'.`,
		Example: "  vzctl-cluster store snapshot restore /root/cluster.snap --data-dir /var/lib/vzmaster --id m1 --raft-advertise 10.0.0.11:7701",
		Args:    operands("FILE"),
		RunE: runE(func(_ *cobra.Command, args []string) error {
			if dir == "" || raftAddr == "" {
				return cli.Errorf(cli.Usage, "--data-dir and --raft-advertise are needed; see 'vzctl-cluster store snapshot restore --help'")
			}
			if err := cluster.ValidateNodeName(id); err != nil {
				return cli.Errorf(cli.Usage, "--id: %v", err)
			}
			return a.snapshotRestore(args[0], dir, id, raftAddr)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&dir, "data-dir", "", "the `DIR` to make; missing or empty")
	f.StringVar(&id, "id", "", "name of the master that it is for, `ID`")
	f.StringVar(&raftAddr, "raft-advertise", "", "that master's raft as the other masters reach it, `HOST:PORT`")
	return cmd
}

func (a *app) snapshotRestore(file, dir, id, raftAddr string) error {
	doc, data, err := readSnapshot(file)
	if err != nil {
		return err
	}
	data, err = snapfile.Reborn(data, doc.Term)
	if err != nil {
		return cli.Errorf(cli.Usage, "%s: %v", file, err)
	}
	quiet := slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelError}))
	if err := raftlog.Seed(dir, id, raftAddr, doc.Rev, data, quiet); err != nil {
		return cli.Errorf(cli.Conflict, "%v", err)
	}
	if doc.DataDir, err = filepath.Abs(dir); err != nil {
		return err
	}
	return a.result(doc, "%s holds the state of %s (%s); start master %s on it, then the others with empty directories",
		dir, stamp(doc.Taken), counts(doc.Records), id)
}
