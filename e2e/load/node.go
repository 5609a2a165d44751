package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/rpc"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// reportEvery is how often a node says that it is there: far more often than a lease ends, and seldom enough for hundreds of nodes.
const reportEvery = 2 * time.Second

// Nodes keeps the sessions of nodes which hold nothing, through whichever of the masters leads, until ctx ends, which is no error.
func Nodes(ctx context.Context, masters, names []string) error {
	var conns []*grpc.ClientConn
	for _, addr := range masters {
		conn, err := rpc.Dial(addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	all, ctx := errgroup.WithContext(ctx)
	for i, name := range names {
		all.Go(func() error {
			for try := i; ctx.Err() == nil; try++ {
				// How it ended does not matter: the next master is asked, and the node counts when WaitNodes sees it.
				_ = session(ctx, conns[try%len(conns)], name)
				select {
				case <-time.After(100 * time.Millisecond):
				case <-ctx.Done():
				}
			}
			return nil
		})
	}
	return all.Wait()
}

// session reports until the master ends it.
func session(ctx context.Context, conn *grpc.ClientConn, name string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := vzpb.NewSessionClient(conn).Session(ctx)
	if err != nil {
		return err
	}
	info, err := json.Marshal(cluster.NodeInfo{Address: "192.0.2.1:7710", Capacity: cluster.Resources{CPUMilli: 1000, MemoryBytes: 1 << 30, DiskBytes: 1 << 30},
		Features: cluster.Features{Kernel: "6.12.1", Cgroup: "v2", Arch: "amd64", Transfer: []int32{1}}})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := stream.Recv(); err != nil {
				ended <- err
				return
			}
		}
	}()
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for seq := uint64(1); ; seq++ {
		err := stream.Send(&vzpb.Report{Seq: seq, Node: name, BootId: "boot-" + name, AgentStarts: 1, InfoJson: info})
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		select {
		case <-tick.C:
		case err := <-ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// WaitNodes waits until the masters know all the named nodes.
func WaitNodes(ctx context.Context, masters, names []string) error {
	missing := "no master has answered"
	for i := 0; ; i++ {
		known, err := nodes(ctx, masters[i%len(masters)])
		if err == nil {
			missing = ""
			for _, n := range names {
				if !known[n] {
					missing = "node " + n + " has not registered"
				}
			}
			if missing == "" {
				return nil
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the nodes are not there: %s: %w", missing, errors.Join(err, ctx.Err()))
		}
	}
}

func nodes(ctx context.Context, master string) (map[string]bool, error) {
	conn, err := rpc.Dial(master)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	list, err := vzpb.NewClusterClient(conn).ListNodes(ctx, &vzpb.ListNodesRequest{})
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool)
	for _, r := range list.GetNodes() {
		var n cluster.Node
		if err := json.Unmarshal(r.GetJson(), &n); err != nil {
			return nil, err
		}
		known[n.Name] = true
	}
	return known, nil
}

// Names makes n names of nodes.
func Names(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("load%03d", i+1))
	}
	return out
}
