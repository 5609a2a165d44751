package master

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/rpc"
	"github.com/vzcluster/vzcluster/pkg/store/raftlog"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// realMaster is a master on the loopback network with its log on disk.
type realMaster struct {
	addr   string
	m      *Master
	cancel context.CancelFunc
	ended  chan error
}

// startReal starts a master; ports stay the same over restarts.
func startReal(t *testing.T, id, dir, api, raftAddr string, bootstrap bool, join []string) *realMaster {
	t.Helper()
	var m *Master
	log, err := raftlog.New(raftlog.Config{ID: id, DataDir: dir, RaftAddr: raftAddr, APIAddr: api, Bootstrap: bootstrap,
		Admit: func(ctx context.Context, p cluster.Presence, peers []string) (bool, error) {
			return m.Admit(ctx, p, peers)
		}})
	if err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", api)
	if err != nil {
		t.Fatal(err)
	}
	m, err = New(Config{ID: id, Advertise: api, RaftAdvertise: raftAddr, Join: join}, log, log, lis)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &realMaster{addr: api, m: m, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- m.Run(ctx) }()
	return r
}

func (r *realMaster) stop(t *testing.T) {
	r.cancel()
	if err := <-r.ended; err != nil {
		t.Errorf("master %s: %v", r.addr, err)
	}
}

// freePort reserves nothing: it only finds a port that is free now. It is on an address that no outgoing connection begins at, so none
// of them takes it before the test does.
func freePort(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.1.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().String()
}

// until asks f again and again until it is content; a test that waits in vain says what for.
func until(t *testing.T, what string, f func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// Three masters with the real log: they find each other, a follower serves what the leader does, the cluster goes on without its
// leader, and a restart with the same command line finds everything again.
func TestThreeRealMasters(t *testing.T) {
	var apis, rafts, dirs []string
	for range 3 {
		apis, rafts, dirs = append(apis, freePort(t)), append(rafts, freePort(t)), append(dirs, t.TempDir())
	}
	masters := make([]*realMaster, 3)
	start := func(i int) {
		var join []string
		if i > 0 {
			join = []string{apis[0], apis[1], apis[2]}
		}
		masters[i] = startReal(t, fmt.Sprintf("m%d", i+1), dirs[i], apis[i], rafts[i], i == 0, join)
	}
	for i := range 3 {
		start(i)
	}
	defer func() {
		var wg sync.WaitGroup
		for _, m := range masters {
			wg.Go(func() { m.stop(t) })
		}
		wg.Wait()
	}()
	client := func(i int) vzpb.ClusterClient {
		conn, err := rpc.Dial(apis[i])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return vzpb.NewClusterClient(conn)
	}
	clients := []vzpb.ClusterClient{client(0), client(1), client(2)}
	status := func(ctx context.Context, i int) (cluster.Status, error) {
		r, err := clients[i].Status(ctx, &vzpb.StatusRequest{})
		if err != nil {
			return cluster.Status{}, err
		}
		return decodeJSON[cluster.Status](t, r.Json), nil
	}
	complete := func(i int) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			r, err := clients[i].ListMasters(ctx, &vzpb.ListMastersRequest{})
			if err != nil {
				return err
			}
			all := decodeJSON[[]cluster.MasterInfo](t, r.Json)
			for _, m := range all {
				// Only who has heard of all others votes for any of them.
				if !m.Voter || m.State == nil || len(m.State.Knows) != 3 || len(all) != 3 {
					return fmt.Errorf("masters: %s", r.Json)
				}
			}
			return nil
		}
	}
	for i := range 3 {
		until(t, fmt.Sprintf("master %d sees three", i+1), complete(i))
	}

	a := newAgent("n1")
	a.dial = func(addr string) (*grpc.ClientConn, error) { return rpc.Dial(addr) }
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { a.run(ctx, apis) })
	defer wg.Wait()
	defer cancel()
	until(t, "the node is online", func(ctx context.Context) error {
		st, err := status(ctx, 1)
		if err == nil && st.Nodes["online"] != 1 {
			err = fmt.Errorf("nodes: %v", st.Nodes)
		}
		return err
	})
	// A mutation through a follower.
	follower := 0
	until(t, "a follower", func(ctx context.Context) error {
		st, err := status(ctx, 0)
		for i, addr := range apis {
			if err == nil && addr != st.LeaderAddr {
				follower = i
			}
		}
		return err
	})
	cordon := &vzpb.CordonNodeRequest{OpKey: "k", Name: "n1", Cordon: true, Reason: "test"}
	until(t, "cordon through a follower", func(ctx context.Context) error {
		_, err := clients[follower].CordonNode(ctx, cordon)
		return err
	})

	// The leader goes; the others serve, and know what was acknowledged.
	st, err := status(context.Background(), follower)
	if err != nil {
		t.Fatal(err)
	}
	gone := 0
	for i, addr := range apis {
		if addr == st.LeaderAddr {
			gone = i
		}
	}
	masters[gone].stop(t)
	for i := range 3 {
		if i == gone {
			continue
		}
		until(t, "another one leads", func(ctx context.Context) error {
			r, err := clients[i].ListNodes(ctx, &vzpb.ListNodesRequest{Name: "n1"})
			if err != nil {
				return err
			}
			if n := decodeJSON[cluster.Node](t, r.Nodes[0].Json); !n.Cordoned || len(r.Nodes[0].LiveJson) == 0 {
				return fmt.Errorf("node: %+v, live: %s", n, r.Nodes[0].LiveJson)
			}
			return nil
		})
	}
	// The same operation, again, to the new leader: it is known.
	if _, err := clients[(gone+1)%3].CordonNode(context.Background(), cordon); err != nil {
		t.Errorf("the operation again: %v", err)
	}
	start(gone)
	until(t, "it is back", complete(gone))
	if got, err := status(context.Background(), gone); err != nil || strings.Join([]string{got.Masters[0].ID, got.Masters[1].ID, got.Masters[2].ID}, ",") != "m1,m2,m3" {
		t.Errorf("after the restart: %+v, %v", got, err)
	}
}
