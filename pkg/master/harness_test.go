package master

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/rpc"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/pkg/store/memlog"
	"github.com/vzcluster/vzcluster/pkg/store/snapfile"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// lan is the network of a test.
type lan struct {
	mu    sync.Mutex
	hosts map[string]*bufconn.Listener
}

func (l *lan) listen(addr string) *bufconn.Listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	lis := bufconn.Listen(1 << 20)
	l.hosts[addr] = lis
	return lis
}

func (l *lan) dial(addr string) (*grpc.ClientConn, error) {
	return rpc.Dial(addr, grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
		l.mu.Lock()
		lis := l.hosts[addr]
		l.mu.Unlock()
		if lis == nil {
			return nil, fmt.Errorf("no route to %s", addr)
		}
		return lis.DialContext(ctx)
	}))
}

// world is a cluster in one process, in virtual time.
type world struct {
	t       *testing.T
	lan     *lan
	log     *memlog.Cluster
	masters []*Master
	addrs   []string
	agents  map[string]*agent
	stops   map[string]func() // of agents
	ctx     context.Context
	key     int
}

// inWorld runs f in a bubble with some masters and nodes; nodes are online before f begins.
func inWorld(t *testing.T, masters int, nodes []string, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		w := &world{t: t, lan: &lan{hosts: map[string]*bufconn.Listener{}}, log: memlog.New(masters), agents: map[string]*agent{}, stops: map[string]func(){}, ctx: ctx}
		var wg sync.WaitGroup
		for i := range masters {
			addr := fmt.Sprintf("m%d:7700", i+1)
			w.addrs = append(w.addrs, addr)
			w.log.SetAddr(i, addr)
			m, err := New(Config{ID: fmt.Sprintf("m%d", i+1), Advertise: addr, RaftAdvertise: fmt.Sprintf("m%d:7701", i+1)},
				w.log.Member(i), nil, w.lan.listen(addr), WithDialer(w.lan.dial))
			if err != nil {
				t.Fatal(err)
			}
			w.masters = append(w.masters, m)
			wg.Go(func() {
				if err := m.Run(ctx); err != nil {
					t.Errorf("master %s: %v", addr, err)
				}
			})
		}
		for _, n := range nodes {
			w.start(newAgent(n))
		}
		defer func() {
			for _, stop := range w.stops {
				stop()
			}
			cancel()
			wg.Wait()
		}()
		w.settle(3 * time.Second)
		f(w)
	})
}

// start brings an agent up.
func (w *world) start(a *agent) {
	a.dial = w.lan.dial
	srv := rpc.NewServer()
	vzpb.RegisterNodeServer(srv, a)
	ctx, cancel := context.WithCancel(w.ctx)
	var wg sync.WaitGroup
	lis := w.lan.listen(a.info.Address)
	wg.Go(func() { _ = rpc.Serve(ctx, srv, lis) })
	wg.Go(func() { a.run(ctx, w.addrs) })
	key := fmt.Sprintf("%s/%d", a.name, len(w.stops))
	w.agents[a.name] = a
	w.stops[key] = func() { cancel(); wg.Wait() }
}

// stop ends every session of the agents with this name.
func (w *world) stop(name string) {
	for key, stop := range w.stops {
		if key[:len(name)+1] == name+"/" {
			stop()
			delete(w.stops, key)
		}
	}
}

// settle lets virtual time go by.
func (w *world) settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// leader returns the master that leads.
func (w *world) leader() *Master {
	i := w.log.Leader()
	if i < 0 {
		w.t.Fatal("nobody leads")
	}
	return w.masters[i]
}

func (w *world) state() *store.State { return w.leader().store.View() }

// client talks to master i.
func (w *world) client(i int) (vzpb.ClusterClient, func()) {
	conn, err := w.lan.dial(w.addrs[i])
	if err != nil {
		w.t.Fatal(err)
	}
	return vzpb.NewClusterClient(conn), func() { conn.Close() }
}

func (w *world) opKey() string { w.key++; return fmt.Sprintf("op-%d", w.key) }

func (w *world) container(ctid string) cluster.Container {
	w.t.Helper()
	c, ok := w.state().Containers().Get(ctid)
	if !ok {
		w.t.Fatalf("container %s does not exist", ctid)
	}
	return c
}

func (w *world) node(name string) cluster.Node {
	n, _ := w.state().Nodes().Get(name)
	return n
}

// template puts a template into the records and onto all nodes.
func (w *world) template(name string) {
	w.t.Helper()
	if _, err := w.leader().store.Update(w.ctx, func(tx *store.Tx) error {
		tx.Templates().Put(cluster.Template{Name: name, Digest: "d-" + name, Size: 1})
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	for _, a := range w.agents {
		a.do(func() { a.templates = append(a.templates, "d-"+name) })
	}
}

func spec(edit ...func(*cluster.Spec)) []byte {
	s := cluster.Spec{Template: "t", Resources: cluster.Resources{CPUMilli: 100, MemoryBytes: 1 << 30, DiskBytes: 1 << 30}, OnBoot: true}
	for _, e := range edit {
		e(&s)
	}
	b, _ := json.Marshal(s)
	return b
}

// running creates and starts a container on a node and waits until it runs.
func (w *world) running(c vzpb.ClusterClient, name, node string) string {
	w.t.Helper()
	r, err := c.CreateContainer(w.ctx, &vzpb.CreateContainerRequest{OpKey: w.opKey(), Name: name, On: node, SpecJson: spec()})
	if err != nil {
		w.t.Fatal(err)
	}
	ct := decodeJSON[cluster.Container](w.t, r.Json)
	if _, err := c.StartContainer(w.ctx, &vzpb.ContainerOpRequest{OpKey: w.opKey(), Name: ct.CTID}); err != nil {
		w.t.Fatal(err)
	}
	w.settle(2 * time.Second)
	if got := w.container(ct.CTID); got.State != cluster.ContainerRunning {
		w.t.Fatalf("not running: %+v", got)
	}
	return ct.CTID
}

func decodeJSON[T any](t *testing.T, b []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func wantCode(t *testing.T, what string, err error, want codes.Code) {
	t.Helper()
	if status.Code(err) != want {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

func readSnapshot(t *testing.T, file string) (snapfile.Header, map[string]store.KV) {
	t.Helper()
	h, data, err := snapfile.Read(strings.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return h, data
}
