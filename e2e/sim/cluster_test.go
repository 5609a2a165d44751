package sim

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/master"
	"github.com/vzcluster/vzcluster/pkg/migrate"
	"github.com/vzcluster/vzcluster/pkg/node"
	"github.com/vzcluster/vzcluster/pkg/node/nodetest"
	"github.com/vzcluster/vzcluster/pkg/rpc"
	"github.com/vzcluster/vzcluster/pkg/store/memlog"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// host is one node: its runtime outlives its agent.
type host struct {
	*nodetest.Runtime
	name, data, run, addr string
	stop                  func() // of the agent; nil: it is down
}

// Info adds what a host of this simulation can do.
func (h *host) Info(ctx context.Context) (cluster.NodeInfo, error) {
	info, err := h.Runtime.Info(ctx)
	info.Capacity.MemoryBytes, info.Capacity.DiskBytes = 8<<30, 8<<30
	info.Features = cluster.Features{Kernel: "6.12.0", CRIU: "4.2", CRIUVersion: 40200, Cgroup: "v2", Arch: "amd64"}
	return info, err
}

type world struct {
	*testing.T
	ctx   context.Context
	log   *memlog.Cluster
	addrs []string
	hosts map[string]*host
	api   []vzpb.ClusterClient
	keys  int
}

// newWorld brings up three masters and nodes n1 to n3, imports a template, and waits until all are online. Leases are short: a test of
// a dead agent must not take a quarter of a minute.
func newWorld(t *testing.T) *world {
	t.Helper()
	base := t.TempDir() // first, so that it is removed last
	ctx, cancel := context.WithCancel(context.Background())
	w := &world{T: t, ctx: ctx, log: memlog.New(3), hosts: map[string]*host{}}
	var wg sync.WaitGroup
	for i := range 3 {
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := lis.Addr().String()
		w.log.SetAddr(i, addr)
		w.addrs = append(w.addrs, addr)
		m, err := master.New(master.Config{ID: fmt.Sprintf("m%d", i+1), Advertise: addr, RaftAdvertise: addr,
			Leases: master.Leases{Period: 100 * time.Millisecond, Lease: 3 * time.Second}}, w.log.Member(i), nil, lis)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if err := m.Run(ctx); err != nil {
				t.Errorf("master: %v", err)
			}
		})
		conn, err := rpc.Dial(addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		w.api = append(w.api, vzpb.NewClusterClient(conn))
	}
	t.Cleanup(func() {
		for _, h := range w.hosts {
			w.kill(h.name)
		}
		cancel()
		wg.Wait()
	})
	for i := range 3 {
		name := fmt.Sprintf("n%d", i+1)
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(base, name)
		h := &host{Runtime: nodetest.New(name, filepath.Join(dir, "vz")), name: name, data: filepath.Join(dir, "vz"), run: filepath.Join(dir, "run"), addr: lis.Addr().String()}
		lis.Close()
		if err := os.MkdirAll(h.run, 0o755); err != nil {
			t.Fatal(err)
		}
		w.hosts[name] = h
		w.boot(name)
	}
	w.until("three nodes are online", func() error {
		st, err := w.status()
		if err == nil && st.Nodes["online"] != 3 {
			err = fmt.Errorf("nodes: %v", st.Nodes)
		}
		return err
	})
	w.importTemplate()
	return w
}

// boot starts a host's agent.
func (w *world) boot(name string) {
	w.Helper()
	h := w.hosts[name]
	a, err := node.New(node.Config{Name: name, Masters: w.addrs, Listen: h.addr, Advertise: h.addr, DataDir: h.data, RunDir: h.run, Runtime: h})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := a.Run(ctx); err != nil {
			w.Errorf("agent of %s: %v", name, err)
		}
	}()
	h.stop = func() { cancel(); <-done }
}

// kill ends a host's agent; its containers run on, held restores die.
func (w *world) kill(name string) {
	h := w.hosts[name]
	if h.stop == nil {
		return
	}
	h.stop()
	h.stop = nil
	h.AgentDied()
}

// until asks f again and again until it is content.
func (w *world) until(what string, f func() error) {
	w.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (w *world) key() string { w.keys++; return fmt.Sprintf("op-%d", w.keys) }

// client is some master: calls go through followers as often as not.
func (w *world) client() vzpb.ClusterClient { w.keys++; return w.api[w.keys%len(w.api)] }

func (w *world) status() (st cluster.Status, err error) {
	r, err := w.client().Status(w.ctx, &vzpb.StatusRequest{})
	if err == nil {
		err = json.Unmarshal(r.Json, &st)
	}
	return st, err
}

func (w *world) importTemplate() {
	w.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	if err := errors.Join(tw.WriteHeader(&tar.Header{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755}), tw.Close()); err != nil {
		w.Fatal(err)
	}
	s, err := w.client().ImportTemplate(w.ctx)
	if err != nil {
		w.Fatal(err)
	}
	_ = s.Send(&vzpb.ImportTemplateRequest{Part: &vzpb.ImportTemplateRequest_Header_{Header: &vzpb.ImportTemplateRequest_Header{OpKey: w.key(), Name: "t", Size: uint64(buf.Len())}}})
	_ = s.Send(&vzpb.ImportTemplateRequest{Part: &vzpb.ImportTemplateRequest_Data{Data: buf.Bytes()}})
	if _, err := s.CloseAndRecv(); err != nil {
		w.Fatalf("import: %v", err)
	}
}

func (w *world) container(name string) (c cluster.Container, err error) {
	r, err := w.client().ListContainers(w.ctx, &vzpb.ListContainersRequest{Name: name})
	if err == nil {
		err = json.Unmarshal(r.Containers[0].Json, &c)
	}
	return c, err
}

// create makes a container on n1, starts it, and gives its processes something to remember.
func (w *world) create(name, memory string) cluster.Container {
	w.Helper()
	spec, err := json.Marshal(cluster.Spec{Template: "t", OnBoot: true})
	if err != nil {
		w.Fatal(err)
	}
	w.retry("create", func() error {
		_, err := w.client().CreateContainer(w.ctx, &vzpb.CreateContainerRequest{OpKey: "create-" + name, Name: name, On: "n1", SpecJson: spec})
		return err
	})
	w.retry("start", func() error {
		_, err := w.client().StartContainer(w.ctx, &vzpb.ContainerOpRequest{OpKey: "start-" + name, Name: name})
		return err
	})
	var c cluster.Container
	w.until("it runs", func() (err error) {
		if c, err = w.container(name); err == nil && c.State != cluster.ContainerRunning {
			err = fmt.Errorf("%+v", c)
		}
		return err
	})
	live, _ := w.hosts["n1"].Live(c.CTID)
	w.hosts["n1"].Put(live, memory)
	return c
}

// retry repeats a change with its key until a leader has taken it.
func (w *world) retry(what string, f func() error) { w.Helper(); w.until(what, f) }

func (w *world) migrate(name, to string) string {
	w.Helper()
	key, id := w.key(), ""
	w.retry("migrate", func() error {
		r, err := w.client().Migrate(w.ctx, &vzpb.MigrateRequest{OpKey: key, Name: name, To: to})
		if err != nil {
			return err
		}
		var m cluster.Migration
		err = json.Unmarshal(r.Json, &m)
		id = m.ID
		return err
	})
	return id
}

// ended waits until a migration is closed, and checks how.
func (w *world) ended(id string, want cluster.Phase) cluster.Migration {
	w.Helper()
	var m cluster.Migration
	w.until("migration "+id+" is closed", func() error {
		r, err := w.client().ListMigrations(w.ctx, &vzpb.ListMigrationsRequest{All: true})
		if err != nil {
			return err
		}
		for _, one := range r.Migrations {
			var got cluster.Migration
			if err := json.Unmarshal(one.Json, &got); err != nil {
				return err
			}
			if got.ID == id {
				m = got
			}
		}
		if !m.Closed {
			return fmt.Errorf("%+v", m)
		}
		return nil
	})
	if m.Phase != want {
		w.Fatalf("migration ended as %s (%s), want %s: %+v", m.Phase, m.Reason, want, m)
	}
	return m
}

// one waits until the container runs on the node and nowhere else, and checks that its processes remember.
func (w *world) one(c cluster.Container, on, memory string) {
	w.Helper()
	w.until("one copy on "+on, func() error {
		now, err := w.container(c.CTID)
		if err != nil {
			return err
		}
		if now.Node != on || now.State != cluster.ContainerRunning || now.Migration != "" {
			return fmt.Errorf("record: %+v", now)
		}
		for name, h := range w.hosts {
			live, ok := h.Live(c.CTID)
			if ok != (name == on) {
				return fmt.Errorf("copy on %s: %v", name, ok)
			}
			if ok && (live.State != cluster.CopyRunning || live.Epoch != now.Epoch) {
				return fmt.Errorf("on %s: %+v, record %+v", name, live, now)
			}
		}
		return nil
	})
	if got := w.hosts[on].Memory[c.CTID]; got != memory {
		w.Errorf("its processes remember %q, want %q", got, memory)
	}
}

var _ node.Runtime = (*host)(nil)
var _ migrate.SourceEngine = (*host)(nil)
