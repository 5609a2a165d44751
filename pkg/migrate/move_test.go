package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate"
	"github.com/vzcluster/vzcluster/pkg/node"
	"github.com/vzcluster/vzcluster/pkg/node/nodetest"
	"github.com/vzcluster/vzcluster/pkg/rpc"
	"github.com/vzcluster/vzcluster/proto/vzpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

const ctid = "101"

// stage is two hosts, with what becomes of the agents on them, and a coordinator that is a few lines.
type stage struct {
	t        *testing.T
	src, dst *nodetest.Runtime
	lis      *bufconn.Listener
	attempt  migrate.Attempt
	faults   migrate.Faults

	mu     sync.Mutex
	rec    cluster.Migration
	source *side[*migrate.Source]
	target *side[*migrate.Target]
	wake   chan struct{}
}

// side is one life of an agent, as far as the attempt goes.
type side[R interface {
	Run(context.Context) error
	Assign(migrate.Assignment)
	Status() migrate.Status
}] struct {
	r    R
	kill context.CancelFunc
	done chan error
}

func newStage(t *testing.T) *stage {
	t.Helper()
	base := t.TempDir()
	s := &stage{t: t, wake: make(chan struct{}, 1), lis: bufconn.Listen(1 << 20)}
	s.src = nodetest.New("n1", filepath.Join(base, "n1"))
	s.dst = nodetest.New("n2", filepath.Join(base, "n2"))
	c := cluster.Container{CTID: ctid, Node: "n1", Epoch: 4, Want: cluster.WantRunning, RunGen: 3, State: cluster.ContainerRunning}
	s.attempt = migrate.Attempt{ID: "7", Epoch: 4, Container: c}
	s.src.Put(node.Copy{CTID: ctid, Epoch: 4, RunGen: 3, State: cluster.CopyRunning, Pid: 1}, "counter=42")
	s.rec = cluster.Migration{ID: "7", CTID: ctid, Source: "n1", Target: "n2", Epoch: 4, Phase: cluster.PhasePending}
	srv := rpc.NewServer()
	vzpb.RegisterNodeServer(srv, &nodeServer{s: s})
	go func() { _ = srv.Serve(s.lis) }()
	t.Cleanup(srv.Stop)
	s.startSource()
	s.startTarget()
	t.Cleanup(func() {
		s.killSource()
		s.killTarget()
	})
	return s
}

type nodeServer struct {
	vzpb.UnimplementedNodeServer
	s *stage
}

func (n *nodeServer) Transfer(stream grpc.BidiStreamingServer[vzpb.TransferFrame, vzpb.TransferReply]) error {
	f, err := stream.Recv()
	if err != nil {
		return err
	}
	n.s.mu.Lock()
	t := n.s.target
	n.s.mu.Unlock()
	if t == nil {
		return status.Error(codes.NotFound, "no such attempt")
	}
	return t.r.Serve(stream, f.GetOpen())
}

func (s *stage) dial(string) (*grpc.ClientConn, error) {
	return rpc.Dial("n2:7710", append(migrate.TransferOptions(), grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return s.lis.DialContext(ctx)
	}))...)
}

func (s *stage) news() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func lease(context.Context) error { return nil }

func (s *stage) startSource() {
	s.t.Helper()
	dir := s.src.Dir
	r, err := migrate.NewSource(migrate.SourceConfig{
		Engine: s.src, Dial: s.dial, JournalDir: filepath.Join(dir, "lib"), ImagesDir: filepath.Join(dir, "run"), Notify: s.news, WaitLease: lease, Faults: &s.faults,
	}, s.attempt)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	one := &side[*migrate.Source]{r, cancel, make(chan error, 1)}
	go func() { one.done <- r.Run(ctx); s.news() }()
	s.mu.Lock()
	s.source = one
	s.mu.Unlock()
}

func (s *stage) startTarget() {
	s.t.Helper()
	dir := s.dst.Dir
	r, err := migrate.NewTarget(migrate.TargetConfig{
		Engine: s.dst, Node: "n2", JournalDir: filepath.Join(dir, "lib"), ImagesDir: filepath.Join(dir, "run"), Notify: s.news, WaitLease: lease,
		ColdStart: func(ctx context.Context, a migrate.Attempt, _ cluster.Epoch) error {
			return s.dst.Start(ctx, a.Container)
		},
	}, s.attempt)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	one := &side[*migrate.Target]{r, cancel, make(chan error, 1)}
	go func() { one.done <- r.Run(ctx); s.news() }()
	s.mu.Lock()
	s.target = one
	s.mu.Unlock()
}

// killSource ends the source's agent; nothing of it gets to do anything more.
func (s *stage) killSource() {
	s.mu.Lock()
	one := s.source
	s.source = nil
	s.mu.Unlock()
	if one != nil {
		one.kill()
		<-one.done
	}
}

func (s *stage) killTarget() {
	s.mu.Lock()
	one := s.target
	s.target = nil
	s.mu.Unlock()
	if one != nil {
		one.kill()
		<-one.done
	}
	s.dst.AgentDied()
}

// step is the coordinator: it takes reports in, moves the record, and hands it out. It checks the promise each time.
func (s *stage) step() cluster.Migration {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checkOne()
	m := &s.rec
	var live struct{ src, dst migrate.Status }
	if s.source != nil {
		live.src = s.source.r.Status()
		m.ForwardSource(cluster.SourceStep(live.src.Step))
		if live.src.Digest != "" {
			m.From.Digest = live.src.Digest
		}
	}
	if s.target != nil {
		live.dst = s.target.r.Status()
		m.ForwardTarget(cluster.TargetStep(live.dst.Step))
		if live.dst.Digest != "" {
			m.To.Digest = live.dst.Digest
		}
	}
	failed := live.src.Error
	if failed == "" {
		failed = live.dst.Error
	}
	move := func(p cluster.Phase, why string) {
		if err := m.Move(p, why); err != nil {
			s.t.Error(err)
		}
	}
	switch {
	case m.Phase == cluster.PhasePending:
		move(cluster.PhasePrepare, "")
	case !m.Phase.Decided() && failed != "":
		move(cluster.PhaseAborting, failed)
	case m.Phase == cluster.PhasePrepare && m.From.Step == cluster.SourcePrepared && m.To.Step == cluster.TargetPrepared:
		move(cluster.PhaseCopy, "")
	case m.Phase == cluster.PhaseCopy && m.From.Step == cluster.SourceCopied:
		move(cluster.PhaseSwitch, "")
	case m.Phase == cluster.PhaseSwitch && m.From.Step == cluster.SourceShipped && live.dst.Step == string(cluster.TargetHeld):
		if m.From.Digest == "" || m.From.Digest != m.To.Digest {
			s.t.Errorf("votes about %q and %q", m.From.Digest, m.To.Digest)
		}
		move(cluster.PhaseCommitted, "")
	case m.Phase == cluster.PhaseCommitted && m.To.Step == cluster.TargetRunning:
		move(cluster.PhaseDone, "")
	case m.Phase == cluster.PhaseAborting && m.From.Step == cluster.SourceThawed && m.To.Step == cluster.TargetDiscarded:
		move(cluster.PhaseFailed, "")
	}
	as := migrate.Assignment{Migration: *m, Container: s.attempt.Container, Peer: "n2:7710"}
	if m.Phase == cluster.PhaseCommitted || m.Phase == cluster.PhaseDone {
		as.Container.Node, as.Container.Epoch = "n2", 5
	}
	if s.source != nil {
		s.source.r.Assign(as)
	}
	if s.target != nil {
		s.target.r.Assign(as)
	}
	return *m
}

// checkOne: at every instant at most one copy runs (G1).
func (s *stage) checkOne() {
	a, _ := s.src.Live(ctid)
	b, _ := s.dst.Live(ctid)
	if a.State == cluster.CopyRunning && b.State == cluster.CopyRunning {
		s.t.Fatal("two copies run")
	}
}

// until drives the coordinator until ok.
func (s *stage) until(what string, ok func(m cluster.Migration) bool) cluster.Migration {
	s.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		if m := s.step(); ok(m) {
			return m
		}
		select {
		case <-s.wake:
		case <-time.After(10 * time.Millisecond): // the coordinator looks again by itself, as the real one does
		case <-deadline:
			s.t.Fatalf("waiting for %s: record %+v", what, s.rec)
		}
	}
}

func over(m cluster.Migration) bool {
	return m.Phase == cluster.PhaseDone && m.From.Step == cluster.SourceDestroyed || m.Phase == cluster.PhaseFailed
}

// expect checks where the one copy runs, and that it remembers.
func (s *stage) expect(at *nodetest.Runtime, epoch cluster.Epoch) {
	s.t.Helper()
	other := s.src
	if at == s.src {
		other = s.dst
	}
	if c, ok := other.Live(ctid); ok {
		s.t.Errorf("%s still has a copy: %+v", other.Name, c)
	}
	c, ok := at.Live(ctid)
	if !ok || c.State != cluster.CopyRunning || c.Epoch != epoch {
		s.t.Errorf("%s has %+v, want it running at epoch %d", at.Name, c, epoch)
	}
	if got := at.Memory[ctid]; got != "counter=42" {
		s.t.Errorf("it remembers %q", got)
	}
	for _, r := range []*nodetest.Runtime{s.src, s.dst} {
		for _, dir := range []string{"run", "staging"} {
			if left, _ := os.ReadDir(filepath.Join(r.Dir, dir)); len(left) > 0 {
				s.t.Errorf("left behind on %s: %v", r.Name, left)
			}
		}
	}
}

func (s *stage) fillRoot(files int) {
	s.t.Helper()
	root := s.src.Root(s.attempt)
	for i := range files {
		dir := filepath.Join(root, fmt.Sprint("d", i%10))
		must(s.t, os.MkdirAll(dir, 0o755))
		must(s.t, os.WriteFile(filepath.Join(dir, fmt.Sprint("f", i)), []byte(strings.Repeat(fmt.Sprint(i), i%5000)), 0o640))
	}
	must(s.t, os.Link(filepath.Join(root, "d1/f1"), filepath.Join(root, "link")))
	must(s.t, os.WriteFile(s.src.ConsoleLog(s.attempt), []byte("booted\n"), 0o600))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func listing(t testing.TB, root string) []string {
	var out []string
	must(t, filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		line := fmt.Sprintf("%s %v %v", rel, info.Mode(), info.ModTime().UnixNano())
		if info.Mode().IsRegular() {
			raw, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += " " + string(raw)
		}
		out = append(out, line)
		return nil
	}))
	return out
}

func TestMove(t *testing.T) {
	s := newStage(t)
	s.fillRoot(300)
	want := listing(t, s.src.Root(s.attempt))
	m := s.until("the end", over)
	if m.Phase != cluster.PhaseDone {
		t.Fatalf("ended in %s: %s", m.Phase, m.Reason)
	}
	s.expect(s.dst, 5)
	if got := listing(t, s.dst.Root(s.attempt)); !slices.Equal(got, want) {
		t.Errorf("root differs:\n%d entries, want %d", len(got), len(want))
	}
	if got, _ := os.ReadFile(s.dst.ConsoleLog(s.attempt)); string(got) != "booted\n" {
		t.Errorf("console log at the target: %q", got)
	}
	st := s.source.r.Status()
	if st.Stats == nil || st.Stats.ImageBytes == 0 || st.Stats.RootfsFiles < 300 || st.Stats.Frozen <= 0 {
		t.Errorf("stats: %+v", st.Stats)
	}
	var names []string
	for _, x := range append(st.Stages, s.target.r.Status().Stages...) {
		names = append(names, x.Stage)
	}
	for _, want := range []string{"freeze", "dump", "final-rootfs", "ship", "destroy", "verify", "restore", "sync", "commit", "release"} {
		if !slices.Contains(names, want) {
			t.Errorf("no stage %s in %v", want, names)
		}
	}
	calls := s.src.Calls()
	if slices.Index(calls, "Destroy 101") < slices.Index(calls, "Forward 101") || slices.Contains(calls, "Thaw 101") {
		t.Errorf("source: %v", calls)
	}
}

// A byte that changes on the way is found before anything is restored; the source runs on.
func TestCorruptImageByte(t *testing.T) {
	s := newStage(t)
	s.fillRoot(20)
	s.faults.CorruptImageOnce.Store(true)
	m := s.until("the end", over)
	if m.Phase != cluster.PhaseFailed || !strings.Contains(m.Reason, "differs from what was sent") {
		t.Errorf("ended in %s: %s", m.Phase, m.Reason)
	}
	if slices.Contains(s.dst.Calls(), "Restore 101") {
		t.Error("damaged images were restored")
	}
	s.expect(s.src, 4)
}

var errInjected = errors.New("injected")

// Whatever call of the runtime fails before the verdict, the source runs on.
func TestFailureAtEveryCall(t *testing.T) {
	for _, call := range []string{"src Preflight", "src Arm", "src Freeze", "src Dump", "dst Reserve", "dst Prepare", "dst Restore"} {
		t.Run(call, func(t *testing.T) {
			s := newStage(t)
			s.fillRoot(20)
			host, name, _ := strings.Cut(call, " ")
			rt := map[string]*nodetest.Runtime{"src": s.src, "dst": s.dst}[host]
			rt.Hook = func(_ context.Context, c, _ string) error {
				if c == name {
					return errInjected
				}
				return nil
			}
			m := s.until("the end", over)
			if m.Phase != cluster.PhaseFailed || !strings.Contains(m.Reason, "injected") {
				t.Errorf("ended in %s: %s", m.Phase, m.Reason)
			}
			s.expect(s.src, 4)
		})
	}
}

// An agent that dies at any call of the runtime, before or after it had its effect, and comes back, leaves one copy that runs and
// remembers; nothing runs twice on the way.
func TestAgentDiesAtEveryCall(t *testing.T) {
	type point struct{ host, call string }
	for _, p := range []point{
		{"src", "Preflight"}, {"src", "Arm"}, {"src", "Freeze"}, {"src", "Dump"}, {"src", "Thaw"}, {"src", "Forward"}, {"src", "Destroy"},
		{"dst", "Reserve"}, {"dst", "Prepare"}, {"dst", "Restore"}, {"dst", "Release"}, {"dst", "Discard"},
	} {
		for _, effect := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %s effect=%v", p.host, p.call, effect), func(t *testing.T) {
				s := newStage(t)
				s.fillRoot(20)
				rt := map[string]*nodetest.Runtime{"src": s.src, "dst": s.dst}[p.host]
				if p.call == "Thaw" || p.call == "Discard" {
					s.faults.CorruptImageOnce.Store(true)
				}
				died := make(chan struct{})
				var once sync.Once
				rt.Hook = func(ctx context.Context, c, _ string) error {
					mine := false
					if c == p.call {
						once.Do(func() { mine = true; close(died) })
					}
					if !mine {
						return nil
					}
					<-ctx.Done() // the agent is dead: its call never returns to anybody
					if effect {
						rt.Again(p.call, s.attempt)
					}
					return errInjected
				}
				s.until("the fault", func(cluster.Migration) bool {
					select {
					case <-died:
						return true
					default:
						return false
					}
				})
				if p.host == "src" {
					s.killSource()
					s.startSource()
				} else {
					s.killTarget()
					s.startTarget()
				}
				m := s.until("the end", over)
				t.Logf("%s: %s", m.Phase, m.Reason)
				if p.call == "Release" {
					// The held tasks died with the agent after the commit: a cold start is all that is left (R9, R11).
					c, _ := s.dst.Live(ctid)
					if m.Phase != cluster.PhaseDone || c.State != cluster.CopyRunning {
						t.Errorf("ended in %s with %+v", m.Phase, c)
					}
					return
				}
				if m.Phase == cluster.PhaseDone {
					s.expect(s.dst, 5)
				} else {
					s.expect(s.src, 4)
				}
			})
		}
	}
}

// The agents die after both votes and before anybody has read the verdict.
func TestDeathBetweenVotesAndVerdict(t *testing.T) {
	for _, who := range []string{"source", "target", "both"} {
		t.Run(who, func(t *testing.T) {
			s := newStage(t)
			s.fillRoot(20)
			voted := func(m cluster.Migration) bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return m.Phase == cluster.PhaseSwitch && s.source.r.Status().Step == string(cluster.SourceShipped) &&
					s.target.r.Status().Step == string(cluster.TargetHeld)
			}
			// The record is committed behind the agents' backs.
			for !voted(s.rec) {
				if s.rec.Phase != cluster.PhaseSwitch {
					s.step()
				}
				if s.rec.Phase.Decided() {
					t.Fatalf("decided: %s", s.rec.Reason)
				}
				time.Sleep(time.Millisecond) // polling, not synchronisation: the loop ends by what it sees
			}
			if who != "target" {
				s.killSource()
			}
			if who != "source" {
				s.killTarget()
			}
			s.mu.Lock()
			s.rec.From.Step, s.rec.To.Step = cluster.SourceShipped, cluster.TargetHeld
			must(t, s.rec.Move(cluster.PhaseCommitted, ""))
			s.mu.Unlock()
			if who != "target" {
				s.startSource()
			}
			if who != "source" {
				s.startTarget()
			}
			m := s.until("the end", over)
			if m.Phase != cluster.PhaseDone {
				t.Fatalf("ended in %s", m.Phase)
			}
			// Restored again from the images where the held restore died: memory is kept.
			s.expect(s.dst, 5)
		})
	}
}

// A frozen source does not thaw because of anything but the verdict on its own attempt (R3), and its vote stands after a restart.
func TestFrozenSourceWaits(t *testing.T) {
	s := newStage(t)
	s.fillRoot(5)
	s.until("frozen", func(cluster.Migration) bool { c, _ := s.src.Live(ctid); return c.State == cluster.CopyFrozen })
	s.killTarget()
	s.killSource()
	s.startSource()
	other := s.rec
	other.ID, other.Phase = "8", cluster.PhaseFailed
	s.source.r.Assign(migrate.Assignment{Migration: other, Container: s.attempt.Container})
	older := s.rec
	older.Epoch, older.Phase = 3, cluster.PhaseAborting
	s.source.r.Assign(migrate.Assignment{Migration: older, Container: s.attempt.Container})
	if c, _ := s.src.Live(ctid); c.State != cluster.CopyFrozen {
		t.Fatalf("it is %s", c.State)
	}
	s.startTarget()
	m := s.until("the end", over)
	if m.Phase == cluster.PhaseDone {
		s.expect(s.dst, 5)
	} else {
		s.expect(s.src, 4)
	}
}

// A stream that does not fit the record is turned away.
func TestWrongStreams(t *testing.T) {
	s := newStage(t)
	good := vzpb.TransferOpen{Migration: "7", Ctid: ctid, Epoch: 4, Source: "n1", Target: "n2", Versions: []vzpb.TransferVersion{1}}
	for name, change := range map[string]func(o *vzpb.TransferOpen){
		"attempt": func(o *vzpb.TransferOpen) { o.Migration = "6" },
		"epoch":   func(o *vzpb.TransferOpen) { o.Epoch = 3 },
		"source":  func(o *vzpb.TransferOpen) { o.Source = "n3" },
		"target":  func(o *vzpb.TransferOpen) { o.Target = "n3" },
		"ctid":    func(o *vzpb.TransferOpen) { o.Ctid = "102" },
		"version": func(o *vzpb.TransferOpen) { o.Versions = nil },
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := s.dial("")
			must(t, err)
			defer conn.Close()
			o := vzpb.TransferOpen{Migration: good.Migration, Ctid: good.Ctid, Epoch: good.Epoch, Source: good.Source, Target: good.Target, Versions: good.Versions}
			change(&o)
			stream, err := vzpb.NewNodeClient(conn).Transfer(t.Context())
			must(t, err)
			must(t, stream.Send(&vzpb.TransferFrame{Part: &vzpb.TransferFrame_Open{Open: &o}}))
			if r, err := stream.Recv(); err == nil {
				t.Fatalf("answered with %v", r)
			}
		})
	}
}
