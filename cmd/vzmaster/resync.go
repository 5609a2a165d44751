package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/rpc"
	"github.com/vzcluster/vzcluster/pkg/store/raftlog"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// resyncTimeout bounds each call to the other masters.
const resyncTimeout = 30 * time.Second

// resyncOptions are the command line of resync.
type resyncOptions struct {
	id, dataDir string
	masters     []string
}

func resyncCommand() *cobra.Command {
	var o resyncOptions
	c := &cobra.Command{
		Use:   "resync --data-dir DIR [--id NAME] [--masters HOST:PORT,...]",
		Short: "Have a master whose data is damaged start afresh from the others",
		Long: "Have a master that does not run, because its data is damaged or it is in quarantine, start afresh from the others: they forget\n" +
			"it, its data is moved aside within --data-dir (nothing is deleted), and they take it in again without a vote. Start it then as\n" +
			"always: it fetches everything and votes again. The others need a quorum without it. Run it again if it was interrupted.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			text, err := o.run(c.Context())
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), text)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&o.id, "id", "", "name of this master (default: the one that --data-dir belongs to)")
	f.StringVar(&o.dataDir, "data-dir", "/var/lib/vzmaster", "directory of the log and its snapshots")
	f.StringSliceVar(&o.masters, "masters", nil, "API addresses of the other masters (default: those that --data-dir knows)")
	return c
}

// run does it and returns what to tell the operator.
func (o *resyncOptions) run(ctx context.Context) (string, error) {
	who, err := raftlog.ReadOwner(o.dataDir)
	if err != nil {
		return "", err
	}
	if o.id == "" {
		o.id = who.ID
	}
	if len(o.masters) == 0 {
		o.masters = who.Peers
	}
	switch {
	case o.id == "" || (who.ID != "" && who.ID != o.id):
		return "", fmt.Errorf("%s belongs to the master %q: give that as --id", o.dataDir, who.ID)
	case len(o.masters) == 0:
		return "", fmt.Errorf("%s does not know the other masters: give their API addresses as --masters", o.dataDir)
	}
	release, err := raftlog.Claim(o.dataDir)
	if err != nil {
		return "", fmt.Errorf("the master must not run meanwhile: %w", err)
	}
	var self cluster.Master
	var term uint64
	err = o.ask(ctx, func(ctx context.Context, api vzpb.ClusterClient) (err error) {
		if self, err = o.remove(ctx, api, who.Self); err != nil {
			return err
		}
		term, err = reached(ctx, api)
		return err
	})
	if err := errors.Join(err, release()); err != nil {
		return "", fmt.Errorf("nothing was changed in %s: %w", o.dataDir, err)
	}
	// From here on a run that is interrupted can be run again.
	aside, err := raftlog.Empty(o.dataDir, o.id, term)
	if err != nil {
		return "", err
	}
	err = o.ask(ctx, func(ctx context.Context, api vzpb.ClusterClient) error {
		_, err := api.AddMaster(ctx, &vzpb.AddMasterRequest{Id: self.ID, RaftAddr: self.RaftAddr, ApiAddr: self.APIAddr})
		return err
	})
	if err != nil {
		return "", fmt.Errorf("the old data is in %s, but the others did not take %s in again: %w; start it with --join, or run this again", aside, o.id, err)
	}
	if err := raftlog.Settled(o.dataDir); err != nil {
		return "", err
	}
	return fmt.Sprintf("master %s may start again: it will fetch everything from the others; its old data is in %s, remove that when it is no longer wanted", o.id, aside), nil
}

// ask calls f with one master after the other until one could answer.
func (o *resyncOptions) ask(ctx context.Context, f func(context.Context, vzpb.ClusterClient) error) error {
	var last error
	for _, addr := range o.masters {
		conn, err := rpc.Dial(addr)
		if err != nil {
			last = err
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, resyncTimeout)
		err = f(ctx, vzpb.NewClusterClient(conn))
		cancel()
		_ = conn.Close() // nothing more is wanted of it
		if err == nil {
			return nil
		}
		last = fmt.Errorf("master %s: %s", addr, status.Convert(err).Message())
		if c := status.Code(err); c != codes.Unavailable && c != codes.DeadlineExceeded {
			return last
		}
	}
	return fmt.Errorf("no other master could answer, the last: %w", last)
}

// remove has the others forget this master and returns its record; known is what an earlier run has found.
func (o *resyncOptions) remove(ctx context.Context, api vzpb.ClusterClient, known cluster.Master) (cluster.Master, error) {
	list, err := api.ListMasters(ctx, &vzpb.ListMastersRequest{})
	if err != nil {
		return known, err
	}
	var infos []cluster.MasterInfo
	if err := json.Unmarshal(list.GetJson(), &infos); err != nil {
		return known, err
	}
	for _, info := range infos {
		if info.ID != o.id {
			continue
		}
		if info.State != nil {
			return known, fmt.Errorf("master %s runs and answers at %s: stop it first", o.id, info.APIAddr)
		}
		if err := (raftlog.Owner{ID: o.id, Peers: o.masters, Self: info.Master}).Note(o.dataDir); err != nil {
			return known, err
		}
		_, err := api.RemoveMaster(ctx, &vzpb.RemoveMasterRequest{OpKey: opKey(), Ids: []string{o.id}, Force: true})
		return info.Master, err
	}
	if known.ID == "" {
		return known, fmt.Errorf("the cluster has no master %q: 'vzctl-cluster master list' shows them", o.id)
	}
	return known, nil
}

// reached is the term of the present leader.
func reached(ctx context.Context, api vzpb.ClusterClient) (uint64, error) {
	resp, err := api.Status(ctx, &vzpb.StatusRequest{})
	if err != nil {
		return 0, err
	}
	var st cluster.Status
	if err := json.Unmarshal(resp.GetJson(), &st); err != nil {
		return 0, err
	}
	if st.Term == 0 {
		return 0, errors.New("nobody leads")
	}
	return st.Term, nil
}

func opKey() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return "resync-" + hex.EncodeToString(b[:])
}
