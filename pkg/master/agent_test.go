package master

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zeebo/blake3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// agent is a node in memory: it holds copies and carries out directives at once, as a real agent would after some time.
type agent struct {
	vzpb.UnimplementedNodeServer
	name string
	boot string
	dial func(addr string) (*grpc.ClientConn, error)

	mu         sync.Mutex
	starts     uint64
	info       cluster.NodeInfo
	copies     []*vzpb.CopyReport
	migrations map[string]*vzpb.MigrationReport
	templates  []string
	wanted     *vzpb.Directive   // the last complete one
	failed     map[string]string // containers that it can't create, and why: reported for as long as they are wanted
	discarded  []string          // "ctid@epoch"
	leases     int               // directives received
	refused    error             // how the last session ended
	news       chan struct{}     // has one element when something is to be reported
	// stuck holds back the step of a role in a phase: "source/switch".
	stuck map[string]bool
	// answer of PutTemplate, if not the honest one.
	putTemplate func(size uint64, digest string) (*vzpb.PutTemplateResponse, error)
}

func newAgent(name string) *agent {
	return &agent{name: name, boot: "boot-" + name, starts: 1, migrations: map[string]*vzpb.MigrationReport{}, news: make(chan struct{}, 1), stuck: map[string]bool{},
		info: cluster.NodeInfo{Address: name + ":7710", Capacity: cluster.Resources{CPUMilli: 4000, MemoryBytes: 4 << 30, DiskBytes: 100 << 30},
			Features: cluster.Features{Kernel: "6.12.1", CRIU: "4.2.1", CRIUVersion: 40201, Cgroup: "v2", Arch: "amd64", CPUFlags: []string{"sse", "avx"}, Transfer: []int32{1}}}}
}

// do changes the agent from outside and has it report.
func (a *agent) do(f func()) {
	a.mu.Lock()
	f()
	a.mu.Unlock()
	select {
	case a.news <- struct{}{}:
	default:
	}
}

// run keeps a session with whoever leads until ctx ends.
func (a *agent) run(ctx context.Context, masters []string) {
	next := masters[0]
	for i := 1; ctx.Err() == nil; i++ {
		err := a.session(ctx, next)
		a.mu.Lock()
		a.refused = err
		a.mu.Unlock()
		next = masters[i%len(masters)]
		if st := status.Convert(err); st.Code() == codes.FailedPrecondition {
			if addr, ok := strings.CutPrefix(st.Message(), "leader: "); ok && addr != "" {
				next = addr
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func (a *agent) session(ctx context.Context, addr string) error {
	conn, err := a.dial(addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := vzpb.NewSessionClient(conn).Session(ctx)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		for {
			d, err := stream.Recv()
			if err != nil {
				ended <- err
				return
			}
			if a.handle(d) {
				a.do(func() {})
			}
		}
	}()
	for seq := uint64(1); ; seq++ {
		if err := stream.Send(a.report(seq)); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		select {
		case <-a.news:
		case <-time.After(time.Second):
		case err := <-ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (a *agent) report(seq uint64) *vzpb.Report {
	a.mu.Lock()
	defer a.mu.Unlock()
	info, _ := json.Marshal(a.info)
	r := &vzpb.Report{Seq: seq, Node: a.name, BootId: a.boot, AgentStarts: a.starts, InfoJson: info, Templates: slices.Clone(a.templates)}
	for _, c := range a.copies {
		r.Copies = append(r.Copies, &vzpb.CopyReport{Ctid: c.Ctid, Epoch: c.Epoch, State: c.State, RunGen: c.RunGen, SpecGen: c.SpecGen, Error: c.Error, ErrorGen: c.ErrorGen})
	}
	for _, as := range a.wanted.GetContainers() {
		if why := a.failed[as.Ctid]; why != "" {
			r.Copies = append(r.Copies, &vzpb.CopyReport{Ctid: as.Ctid, Epoch: as.Epoch, State: string(cluster.CopyFailed), Error: why})
		}
	}
	for _, m := range a.migrations {
		r.Migrations = append(r.Migrations, &vzpb.MigrationReport{Id: m.Id, Role: m.Role, Step: m.Step, Digest: m.Digest, Error: m.Error, Stages: m.Stages, Progress: m.Progress})
	}
	// The order means nothing: it must not count as news.
	mathrand.Shuffle(len(r.Copies), func(i, j int) { r.Copies[i], r.Copies[j] = r.Copies[j], r.Copies[i] })
	return r
}

// handle carries out a directive and tells whether anything has changed.
func (a *agent) handle(d *vzpb.Directive) (changed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leases++
	if d.Complete {
		a.wanted = d
	}
	if d = a.wanted; d == nil {
		return false
	}
	before := a.fingerprint()
	for _, t := range d.Templates {
		if !slices.Contains(a.templates, t.Digest) && len(t.Peers) > 0 {
			a.templates = append(a.templates, t.Digest)
		}
	}
	for _, as := range d.Containers {
		a.assign(as)
	}
	for _, m := range d.Migrations {
		a.migrate(m)
	}
	for _, dis := range d.Discards {
		a.remove(dis.Ctid, dis.Epoch, dis.Epoch)
		a.discarded = append(a.discarded, copyName(dis.Ctid, dis.Epoch))
	}
	return before != a.fingerprint()
}

func copyName(ctid string, epoch uint64) string {
	return ctid + "@" + string(rune('0'+epoch))
}

func (a *agent) fingerprint() string {
	s := ""
	for _, c := range a.copies {
		s += c.String()
	}
	for _, m := range a.migrations {
		s += m.String()
	}
	return s + strings.Join(a.templates, ",")
}

func (a *agent) copy(ctid string, states ...cluster.CopyState) *vzpb.CopyReport {
	for _, c := range a.copies {
		if c.Ctid == ctid && slices.Contains(states, cluster.CopyState(c.State)) {
			return c
		}
	}
	return nil
}

func (a *agent) remove(ctid string, from, to uint64) {
	a.copies = slices.DeleteFunc(a.copies, func(c *vzpb.CopyReport) bool { return c.Ctid == ctid && c.Epoch >= from && c.Epoch <= to })
}

func (a *agent) assign(as *vzpb.Assignment) {
	var c cluster.Container
	if json.Unmarshal(as.Json, &c) != nil {
		return
	}
	if as.Destroy {
		a.remove(as.Ctid, 0, as.Epoch)
		return
	}
	cp := a.copy(as.Ctid, cluster.CopyRunning, cluster.CopyStopped)
	if cp == nil {
		if c.State == cluster.ContainerCreating && a.copy(as.Ctid, cluster.CopyFailed) == nil && !a.stuck["create"] {
			a.copies = append(a.copies, &vzpb.CopyReport{Ctid: as.Ctid, Epoch: as.Epoch, State: string(cluster.CopyStopped), SpecGen: c.SpecGen})
		}
		return
	}
	cp.Epoch, cp.SpecGen = as.Epoch, c.SpecGen
	if c.RunGen > cp.RunGen {
		cp.RunGen, cp.State = c.RunGen, string(c.Want)
		if a.stuck["start"] {
			cp.State, cp.Error, cp.ErrorGen = string(cluster.CopyStopped), "no such init", c.RunGen
		}
	}
}

func (a *agent) migrate(as *vzpb.MigrationAssignment) {
	var m cluster.Migration
	var c cluster.Container
	if json.Unmarshal(as.Json, &m) != nil || json.Unmarshal(as.ContainerJson, &c) != nil {
		return
	}
	if m.Closed {
		a.verdict(as.Role, m, c)
		delete(a.migrations, m.ID)
		return
	}
	if a.stuck[as.Role+"/"+string(m.Phase)] {
		return
	}
	r := a.migrations[m.ID]
	if r == nil {
		r = &vzpb.MigrationReport{Id: m.ID, Role: as.Role}
		a.migrations[m.ID] = r
	}
	source := as.Role == roleSource
	switch {
	case m.Phase == cluster.PhasePrepare:
		r.Step = "prepared"
		if !source && a.copy(m.CTID, cluster.CopyStaged) == nil {
			a.copies = append(a.copies, &vzpb.CopyReport{Ctid: m.CTID, Epoch: uint64(m.Epoch), State: string(cluster.CopyStaged)})
		}
	case m.Phase == cluster.PhaseCopy && source:
		r.Step = "copied"
	case m.Phase == cluster.PhaseSwitch && source:
		if cp := a.copy(m.CTID, cluster.CopyRunning); cp != nil {
			cp.State = string(cluster.CopyFrozen)
		}
		r.Step, r.Digest = "shipped", "digest-"+m.ID
	case m.Phase == cluster.PhaseSwitch:
		r.Step, r.Digest = "held", "digest-"+m.ID
	case m.Phase.Decided():
		if step := a.verdict(as.Role, m, c); step != "" {
			r.Step = step
		}
	}
}

// verdict does what follows for one side from a decided migration, and returns its step.
func (a *agent) verdict(role string, m cluster.Migration, c cluster.Container) (step string) {
	switch {
	case m.Phase == cluster.PhaseDone && role == roleSource:
		a.remove(m.CTID, 0, uint64(m.Epoch))
		return "destroyed"
	case (m.Phase == cluster.PhaseCommitted || m.Phase == cluster.PhaseDone) && role == roleTarget:
		if cp := a.copy(m.CTID, cluster.CopyStaged); cp != nil {
			cp.State, cp.Epoch, cp.RunGen, cp.SpecGen = string(cluster.CopyRunning), uint64(m.Epoch)+1, c.RunGen, c.SpecGen
		}
		return "running"
	case (m.Phase == cluster.PhaseAborting || m.Phase == cluster.PhaseFailed) && role == roleSource:
		if cp := a.copy(m.CTID, cluster.CopyFrozen); cp != nil {
			cp.State, cp.Epoch = string(cluster.CopyRunning), uint64(c.Epoch)
		}
		return "thawed"
	case m.Phase == cluster.PhaseAborting || m.Phase == cluster.PhaseFailed:
		if cp := a.copy(m.CTID, cluster.CopyStaged); cp != nil {
			a.remove(m.CTID, cp.Epoch, cp.Epoch)
		}
		return "discarded"
	}
	return ""
}

// reboot loses what is in memory and comes back as a new boot.
func (a *agent) reboot() {
	a.do(func() {
		a.boot, a.starts = a.boot+"'", a.starts+1
		for _, c := range a.copies {
			c.State = string(cluster.CopyStopped)
		}
	})
}

// states lists the copies as "ctid@epoch state".
func (a *agent) states() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for _, c := range a.copies {
		out = append(out, copyName(c.Ctid, c.Epoch)+" "+c.State)
	}
	slices.Sort(out)
	return out
}

// PutTemplate implements the Node service.
func (a *agent) PutTemplate(stream grpc.ClientStreamingServer[vzpb.ImportTemplateRequest, vzpb.PutTemplateResponse]) error {
	sum, size := blake3.New(), uint64(0)
	for {
		p, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		_, _ = sum.Write(p.GetData())
		size += uint64(len(p.GetData()))
	}
	digest := hex.EncodeToString(sum.Sum(nil))
	if a.putTemplate != nil {
		out, err := a.putTemplate(size, digest)
		if err != nil {
			return err
		}
		return stream.SendAndClose(out)
	}
	a.do(func() { a.templates = append(a.templates, digest) })
	return stream.SendAndClose(&vzpb.PutTemplateResponse{Digest: digest, Size: size})
}

// Exec implements the Node service: a program that copies its input and exits with 7.
func (a *agent) Exec(stream grpc.BidiStreamingServer[vzpb.ExecRequest, vzpb.ExecResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	send := func(out string) error {
		return stream.Send(&vzpb.ExecResponse{Part: &vzpb.ExecResponse_Stdout{Stdout: []byte(out)}})
	}
	if err := send(a.name + " " + first.GetStart().Name + ":"); err != nil {
		return err
	}
	for {
		p, err := stream.Recv()
		if errors.Is(err, io.EOF) || p.GetStdinEof() {
			return stream.Send(&vzpb.ExecResponse{Part: &vzpb.ExecResponse_ExitCode{ExitCode: 7}})
		}
		if err != nil {
			return err
		}
		if err := send(string(p.GetStdin())); err != nil {
			return err
		}
	}
}

// ConsoleLog implements the Node service.
func (a *agent) ConsoleLog(_ context.Context, r *vzpb.ConsoleLogRequest) (*vzpb.ConsoleLogResponse, error) {
	return &vzpb.ConsoleLogResponse{Data: []byte(a.name + " " + r.Name)}, nil
}
