package node_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/node"
	"github.com/vzcluster/vzcluster/pkg/node/nodetest"
	"github.com/vzcluster/vzcluster/pkg/rpc"
	"github.com/vzcluster/vzcluster/proto/vzpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

// world is a network in memory: listeners by address.
type world struct {
	t    *testing.T
	ctx  context.Context
	wg   sync.WaitGroup
	mu   sync.Mutex
	addr map[string]*bufconn.Listener
}

// inWorld runs a test in a bubble of virtual time and ends everything that it started.
func inWorld(t *testing.T, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		w := &world{t: t, ctx: ctx, addr: map[string]*bufconn.Listener{}}
		f(w)
		cancel()
		w.wg.Wait()
	})
}

func (w *world) listen(addr string) *bufconn.Listener {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.addr[addr] = bufconn.Listen(1 << 20)
	return w.addr[addr]
}

func (w *world) dial(addr string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return rpc.Dial(addr, append(opts, grpc.WithContextDialer(func(ctx context.Context, a string) (net.Conn, error) {
		w.mu.Lock()
		lis := w.addr[a]
		w.mu.Unlock()
		if lis == nil {
			return nil, errors.New("connection refused")
		}
		return lis.DialContext(ctx)
	}))...)
}

func (w *world) serve(addr string, register func(*grpc.Server)) {
	srv := rpc.NewServer()
	register(srv)
	lis := w.listen(addr)
	w.wg.Go(func() { _ = rpc.Serve(w.ctx, srv, lis) })
}

// leader is a master that leads, as far as a test moves it.
type leader struct {
	vzpb.UnimplementedSessionServer
	mu      sync.Mutex
	want    *vzpb.Directive // complete; nil: none yet
	changed chan struct{}
	mute    bool
	reports []*vzpb.Report
}

func newLeader(w *world, addr string) *leader {
	l := &leader{changed: make(chan struct{}), want: &vzpb.Directive{Complete: true, Term: 1}}
	w.serve(addr, func(s *grpc.Server) { vzpb.RegisterSessionServer(s, l) })
	return l
}

func (l *leader) set(f func(d *vzpb.Directive)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := &vzpb.Directive{Complete: true, Term: l.want.Term, Containers: l.want.Containers, Migrations: l.want.Migrations, Discards: l.want.Discards, Templates: l.want.Templates}
	f(d)
	l.want = d
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *leader) Session(stream vzpb.Session_SessionServer) error {
	in := make(chan *vzpb.Report)
	ended := make(chan error, 1)
	go func() {
		for {
			r, err := stream.Recv()
			if err != nil {
				ended <- err
				return
			}
			select {
			case in <- r:
			case <-stream.Context().Done():
				return
			}
		}
	}()
	var sent *vzpb.Directive
	ack := uint64(0)
	for {
		l.mu.Lock()
		want, changed, mute := l.want, l.changed, l.mute
		l.mu.Unlock()
		if ack > 0 && !mute {
			d := &vzpb.Directive{Term: want.Term}
			if want != sent {
				d = &vzpb.Directive{Complete: true, Term: want.Term, Containers: want.Containers, Migrations: want.Migrations, Discards: want.Discards, Templates: want.Templates}
				sent = want
			}
			d.Ack, d.LeaseNs, d.PeriodNs = ack, int64(15*time.Second), int64(time.Second)
			if err := stream.Send(d); err != nil {
				return err
			}
		}
		select {
		case r := <-in:
			ack = r.Seq
			l.mu.Lock()
			l.reports = append(l.reports, r)
			l.mu.Unlock()
		case <-changed:
		case err := <-ended:
			return err
		}
	}
}

func (l *leader) last() *vzpb.Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.reports) == 0 {
		return &vzpb.Report{}
	}
	return l.reports[len(l.reports)-1]
}

// follower sends everybody to another master.
type follower struct {
	vzpb.UnimplementedSessionServer
	to string
}

func (f *follower) Session(vzpb.Session_SessionServer) error {
	return status.Error(codes.FailedPrecondition, "leader: "+f.to)
}

func (w *world) agent(name, dir string, rt node.Runtime, masters ...string) {
	w.t.Helper()
	start := time.Now()
	a, err := node.New(node.Config{
		Name: name, Masters: masters, Listener: w.listen(name + ":7710"), Advertise: name + ":7710", DataDir: filepath.Join(dir, "vz"), RunDir: filepath.Join(dir, "run"),
		Runtime: rt, Dial: w.dial, Clock: func() time.Duration { return time.Since(start) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.wg.Go(func() {
		if err := a.Run(w.ctx); err != nil {
			w.t.Errorf("agent %s: %v", name, err)
		}
	})
}

const digest = "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"

func assignment(c cluster.Container, destroy bool) *vzpb.Assignment {
	raw, _ := json.Marshal(c)
	return &vzpb.Assignment{Ctid: c.CTID, Epoch: uint64(c.Epoch), Json: raw, Destroy: destroy}
}

// settle lets virtual time pass until everything has had its effect.
func settle() {
	time.Sleep(5 * time.Second)
	synctest.Wait()
}

func copyOf(r *vzpb.Report, ctid string) *vzpb.CopyReport {
	i := slices.IndexFunc(r.Copies, func(c *vzpb.CopyReport) bool { return c.Ctid == ctid })
	if i < 0 {
		return &vzpb.CopyReport{}
	}
	return r.Copies[i]
}

// The life of a container, by directives alone; the leader is found through a hint, the template through a peer.
func TestContainerLife(t *testing.T) {
	inWorld(t, func(w *world) {
		dir := t.TempDir()
		l := newLeader(w, "m2:7700")
		w.serve("m1:7700", func(s *grpc.Server) { vzpb.RegisterSessionServer(s, &follower{to: "m2:7700"}) })
		w.serve("n9:7710", func(s *grpc.Server) { vzpb.RegisterNodeServer(s, &peer{content: "abc"}) })
		rt := nodetest.New("n1", filepath.Join(dir, "host"))
		w.agent("n1", dir, rt, "m0:7700", "m1:7700")
		settle()
		if r := l.last(); r.Node != "n1" || r.BootId == "" || r.AgentStarts != 1 {
			t.Fatalf("report %v", r)
		}
		c := cluster.Container{CTID: "101", Node: "n1", Epoch: 1, SpecGen: 1, State: cluster.ContainerCreating, Want: cluster.WantRunning, RunGen: 1, Digest: digest}
		l.set(func(d *vzpb.Directive) {
			d.Containers = []*vzpb.Assignment{assignment(c, false)}
			d.Templates = []*vzpb.TemplateWant{{Name: "t", Digest: digest, Size: 3, Peers: []string{"n8:7710", "n9:7710"}}}
		})
		settle()
		if got := copyOf(l.last(), "101"); got.State != "running" || got.RunGen != 1 || got.SpecGen != 1 || got.Epoch != 1 || got.Usage == nil {
			t.Errorf("after create and start: %v", got)
		}
		if !slices.Contains(l.last().Templates, digest) {
			t.Error("the template is not reported")
		}
		c.State, c.Epoch, c.SpecGen, c.RunGen, c.Want = cluster.ContainerRunning, 2, 2, 2, cluster.WantStopped
		l.set(func(d *vzpb.Directive) { d.Containers = []*vzpb.Assignment{assignment(c, false)} })
		settle()
		if got := copyOf(l.last(), "101"); got.State != "stopped" || got.RunGen != 2 || got.SpecGen != 2 || got.Epoch != 2 {
			t.Errorf("after apply and stop: %v", got)
		}
		old := c
		old.Epoch, old.RunGen, old.Want = 1, 9, cluster.WantRunning
		l.set(func(d *vzpb.Directive) { d.Containers = []*vzpb.Assignment{assignment(old, false)} })
		settle()
		if got := copyOf(l.last(), "101"); got.State != "stopped" {
			t.Errorf("an order of an old epoch was obeyed: %v", got)
		}
		l.set(func(d *vzpb.Directive) { d.Containers = []*vzpb.Assignment{assignment(c, true)} })
		settle()
		if got := copyOf(l.last(), "101"); got.Ctid != "" {
			t.Errorf("after destroy: %v", got)
		}
		want := []string{"Sweep ", "Create 101", "Start 101", "Apply 101", "Stop 101", "Remove 101"}
		if got := rt.Calls(); !slices.Equal(got, want) {
			t.Errorf("calls %v, want %v", got, want)
		}
	})
}

// peer is another agent that has a template.
type peer struct {
	vzpb.UnimplementedNodeServer
	content string
}

func (p *peer) GetTemplate(_ *vzpb.GetTemplateRequest, s grpc.ServerStreamingServer[vzpb.TemplateChunk]) error {
	return s.Send(&vzpb.TemplateChunk{Data: []byte(p.content)})
}

// A template whose content is not what its digest says is not taken.
func TestTemplateDigestIsChecked(t *testing.T) {
	inWorld(t, func(w *world) {
		dir := t.TempDir()
		l := newLeader(w, "m1:7700")
		w.serve("n9:7710", func(s *grpc.Server) { vzpb.RegisterNodeServer(s, &peer{content: "abd"}) })
		w.agent("n1", dir, nodetest.New("n1", dir), "m1:7700")
		l.set(func(d *vzpb.Directive) {
			d.Templates = []*vzpb.TemplateWant{{Digest: digest, Size: 3, Peers: []string{"n9:7710"}}}
		})
		settle()
		if len(l.last().Templates) != 0 {
			t.Error("taken")
		}
		if left, _ := os.ReadDir(filepath.Join(dir, "vz", "template")); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

// An order that fails is reported with its generation and not tried again; the next one is.
func TestFailedOrder(t *testing.T) {
	inWorld(t, func(w *world) {
		dir := t.TempDir()
		l := newLeader(w, "m1:7700")
		rt := nodetest.New("n1", dir)
		rt.Put(node.Copy{CTID: "101", Epoch: 1, RunGen: 1, SpecGen: 1, State: cluster.CopyStopped}, "")
		starts := 0
		rt.Hook = func(_ context.Context, call, _ string) error {
			if call == "Start" {
				if starts++; starts == 1 {
					return errors.New("no such bridge")
				}
			}
			return nil
		}
		w.agent("n1", dir, rt, "m1:7700")
		c := cluster.Container{CTID: "101", Node: "n1", Epoch: 1, SpecGen: 1, State: cluster.ContainerStopped, Want: cluster.WantRunning, RunGen: 2}
		l.set(func(d *vzpb.Directive) { d.Containers = []*vzpb.Assignment{assignment(c, false)} })
		settle()
		if got := copyOf(l.last(), "101"); got.Error != "start: no such bridge" || got.ErrorGen != 2 || starts != 1 {
			t.Errorf("after %d starts: %v", starts, got)
		}
		c.RunGen = 3
		l.set(func(d *vzpb.Directive) { d.Containers = []*vzpb.Assignment{assignment(c, false)} })
		settle()
		if got := copyOf(l.last(), "101"); got.Error != "" || got.State != "running" || starts != 2 {
			t.Errorf("after the next order: %v", got)
		}
	})
}

// A discard names a copy; another epoch's copy is left alone (R6).
func TestDiscardNamesTheCopy(t *testing.T) {
	inWorld(t, func(w *world) {
		dir := t.TempDir()
		l := newLeader(w, "m1:7700")
		rt := nodetest.New("n1", dir)
		rt.Put(node.Copy{CTID: "101", Epoch: 4, State: cluster.CopyRunning}, "")
		w.agent("n1", dir, rt, "m1:7700")
		l.set(func(d *vzpb.Directive) { d.Discards = []*vzpb.Discard{{Ctid: "101", Epoch: 3}} })
		settle()
		if _, ok := rt.Live("101"); !ok {
			t.Fatal("the wrong copy was removed")
		}
		l.set(func(d *vzpb.Directive) { d.Discards = []*vzpb.Discard{{Ctid: "101", Epoch: 4}} })
		settle()
		if _, ok := rt.Live("101"); ok {
			t.Error("still there")
		}
	})
}

// A deposed leader is not obeyed, not even by an agent that has been restarted since (R5).
func TestDeposedLeader(t *testing.T) {
	dir := t.TempDir()
	for life, term := range []uint64{7, 6} {
		inWorld(t, func(w *world) {
			l := newLeader(w, "m1:7700")
			rt := nodetest.New("n1", dir)
			rt.Put(node.Copy{CTID: "101", Epoch: 4, State: cluster.CopyStopped}, "")
			w.agent("n1", dir, rt, "m1:7700")
			l.set(func(d *vzpb.Directive) {
				d.Term = term
				d.Discards = []*vzpb.Discard{{Ctid: "101", Epoch: 4}}
			})
			settle()
			if _, there := rt.Live("101"); there != (life == 1) {
				t.Errorf("term %d: copy there: %v", term, there)
			}
			if got := l.last(); got.MaxTerm != 7 && len(l.reports) > 1 || got.AgentStarts != uint64(life+1) {
				t.Errorf("term %d: report %v", term, got)
			}
		})
	}
}

// A source whose masters have gone silent doesn't freeze: its lease counts from when it sent, and runs out.
func TestNoFreezeWithoutLease(t *testing.T) {
	inWorld(t, func(w *world) {
		dir := t.TempDir()
		l := newLeader(w, "m1:7700")
		src, dst := nodetest.New("n1", filepath.Join(dir, "h1")), nodetest.New("n2", filepath.Join(dir, "h2"))
		src.Put(node.Copy{CTID: "101", Epoch: 1, RunGen: 1, SpecGen: 1, State: cluster.CopyRunning}, "x")
		w.agent("n1", filepath.Join(dir, "a1"), src, "m1:7700")
		// The target has another master, so that the two agents' directives do not get mixed up.
		l2 := newLeader(w, "m2:7700")
		w.agent("n2", filepath.Join(dir, "a2"), dst, "m2:7700")
		c := cluster.Container{CTID: "101", Node: "n1", Epoch: 1, SpecGen: 1, RunGen: 1, State: cluster.ContainerRunning, Want: cluster.WantRunning, Migration: "5"}
		m := cluster.Migration{ID: "5", CTID: "101", Source: "n1", Target: "n2", Epoch: 1}
		phase := func(p cluster.Phase, closed bool) {
			m.Phase, m.Closed = p, closed
			rec, _ := json.Marshal(m)
			ct, _ := json.Marshal(c)
			for role, l := range map[string]*leader{"source": l, "target": l2} {
				addr := map[string]string{"source": "n2:7710", "target": "n1:7710"}[role]
				l.set(func(d *vzpb.Directive) {
					d.Migrations = []*vzpb.MigrationAssignment{{Id: "5", Role: role, Json: rec, ContainerJson: ct, PeerAddr: addr}}
				})
			}
			settle()
		}
		step := func(l *leader) string {
			if r := l.last(); len(r.Migrations) == 1 {
				return r.Migrations[0].Step + " " + r.Migrations[0].Error
			}
			return "none"
		}
		phase(cluster.PhasePrepare, false)
		if step(l) != "prepared " || step(l2) != "prepared " {
			t.Fatalf("prepare: %s, %s", step(l), step(l2))
		}
		phase(cluster.PhaseCopy, false)
		if step(l) != "copied " {
			t.Fatalf("copy: %s", step(l))
		}
		// Arming takes longer than the lease, and the leader falls silent meanwhile.
		src.Hook = func(ctx context.Context, call, _ string) error {
			if call == "Arm" {
				time.Sleep(30 * time.Second)
			}
			return nil
		}
		phase(cluster.PhaseSwitch, false)
		l.mu.Lock()
		l.mute = true
		l.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if got, _ := src.Live("101"); got.State != cluster.CopyRunning {
			t.Fatalf("without a lease it became %s", got.State)
		}
		l.mu.Lock()
		l.mute = false
		l.mu.Unlock()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if got, _ := src.Live("101"); got.State != cluster.CopyFrozen || step(l) != "shipped " || step(l2) != "held " {
			t.Fatalf("with a lease: %s; %s, %s", got.State, step(l), step(l2))
		}
		// The target's copy shows as staged, never as half released.
		if got := copyOf(l2.last(), "101"); got.State == "running" {
			t.Errorf("target reports %v", got)
		}
		phase(cluster.PhaseAborting, false)
		if step(l) != "thawed " || step(l2) != "discarded " {
			t.Errorf("abort: %s, %s", step(l), step(l2))
		}
		if got, _ := src.Live("101"); got.State != cluster.CopyRunning {
			t.Errorf("after the abort it is %s", got.State)
		}
		phase(cluster.PhaseFailed, true)
		settle()
		if step(l) != "none" || step(l2) != "none" {
			t.Errorf("after the closing: %s, %s", step(l), step(l2))
		}
		for _, a := range []string{"a1", "a2"} {
			if left, _ := os.ReadDir(filepath.Join(dir, a, "vz", "lib", "migrations")); len(left) > 0 {
				t.Errorf("journals of %s: %v", a, left)
			}
		}
	})
}

// A damaged journal stops the agent before it touches anything.
func TestCorruptJournalStopsTheAgent(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "vz", "lib", "migrations", "5.source")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("VZJRNL1\nthis was never a record of ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	rt := nodetest.New("n1", dir)
	a, err := node.New(node.Config{Name: "n1", Masters: []string{"127.0.0.1:1"}, Listener: bufconn.Listen(1), DataDir: filepath.Join(dir, "vz"), RunDir: filepath.Join(dir, "run"), Runtime: rt})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "JOURNAL_CORRUPT") || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
	if calls := rt.Calls(); len(calls) > 0 {
		t.Errorf("it called %v", calls)
	}
}
