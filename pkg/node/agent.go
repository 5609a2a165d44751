package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate"
	"github.com/vzcluster/vzcluster/pkg/rpc"
	"github.com/vzcluster/vzcluster/proto/vzpb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
)

// Config is what an agent needs to know. Zero values of the optional ones mean the default.
type Config struct {
	Name      string
	Masters   []string // host:port of the masters' API
	Listen    string   // of the Node service
	Advertise string   // host:port under which others reach it; default: Listen, with the address towards the masters if it names none
	DataDir   string   // default /vz
	RunDir    string   // default /run/vzcluster, a tmpfs
	Runtime   Runtime

	// Listener takes the place of Listen.
	Listener net.Listener

	Dial   func(addr string, opts ...grpc.DialOption) (*grpc.ClientConn, error) // default rpc.Dial
	Clock  func() time.Duration                                                 // default BootTime
	Faults *migrate.Faults
	Log    *slog.Logger
}

// DefaultPeriod is the time between two reports until the leader says otherwise.
const DefaultPeriod = time.Second

// Agent is a host's agent. Make one with New, then Run it once.
type Agent struct {
	cfg   Config
	log   *slog.Logger
	state *state
	lease *lease
	boot  string
	info  cluster.NodeInfo
	news  chan struct{} // something to report at once
	tasks *errgroup.Group
	ctx   context.Context // of Run

	refreshing sync.Mutex // so that a later look is never overwritten by an earlier one

	mu         sync.Mutex
	copies     map[string][]seenCopy // by CTID, as last looked at
	failures   map[string]failure    // by CTID: why the last order failed
	wanted     map[string]wanted     // by CTID
	discards   []*vzpb.Discard
	busy       map[string]bool // CTIDs that a worker has
	migrations map[string]*migration
	desired    map[string]desiredMigration
	sessions   map[string]int // exec sessions by CTID
	templates  map[string]bool
	fetching   map[string]*fetch
}

// seenCopy is a copy with its usage.
type seenCopy struct {
	Copy
	usage *vzpb.Usage
}

// failure is why an order failed.
type failure struct {
	kind orderKind
	gen  uint64
	text string
}

// wanted is the leader's word on a container that this node owns.
type wanted struct {
	c       cluster.Container
	destroy bool
}

// New checks the configuration and opens the agent's state.
func New(cfg Config) (*Agent, error) {
	if err := cluster.ValidateNodeName(cfg.Name); err != nil {
		return nil, err
	}
	if len(cfg.Masters) == 0 {
		return nil, errors.New("no masters given")
	}
	if cfg.Runtime == nil {
		return nil, errors.New("no runtime given")
	}
	if cfg.DataDir == "" {
		cfg.DataDir = "/vz"
	}
	if cfg.RunDir == "" {
		cfg.RunDir = "/run/vzcluster"
	}
	if cfg.Dial == nil {
		cfg.Dial = rpc.Dial
	}
	if cfg.Clock == nil {
		cfg.Clock = BootTime
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Agent{
		cfg: cfg, log: cfg.Log.With("node", cfg.Name), lease: newLease(cfg.Clock), news: make(chan struct{}, 1),
		copies: map[string][]seenCopy{}, failures: map[string]failure{}, wanted: map[string]wanted{}, busy: map[string]bool{},
		migrations: map[string]*migration{}, desired: map[string]desiredMigration{}, sessions: map[string]int{},
		templates: map[string]bool{}, fetching: map[string]*fetch{},
	}, nil
}

func (a *Agent) journalDir() string  { return filepath.Join(a.cfg.DataDir, "lib", "migrations") }
func (a *Agent) imagesDir() string   { return filepath.Join(a.cfg.RunDir, "images") }
func (a *Agent) templateDir() string { return filepath.Join(a.cfg.DataDir, "template") }

// Run is the agent's life. It returns when ctx ends, after which every container runs on, or with the reason why it can't go on.
func (a *Agent) Run(ctx context.Context) error {
	var err error
	if a.state, err = openState(filepath.Join(a.cfg.DataDir, "lib")); err != nil {
		return err
	}
	if a.boot, err = bootID(a.cfg.RunDir); err != nil {
		return fmt.Errorf("boot id: %w", err)
	}
	if err := a.openTemplates(); err != nil {
		return fmt.Errorf("templates: %w", err)
	}
	lis := a.cfg.Listener
	if lis == nil {
		if lis, err = (&net.ListenConfig{}).Listen(ctx, "tcp", a.cfg.Listen); err != nil {
			return err
		}
	}
	if a.info, err = a.cfg.Runtime.Info(ctx); err != nil {
		lis.Close()
		return fmt.Errorf("probe host: %w", err)
	}
	a.info.Address = a.advertise(lis.Addr())
	a.info.Version = cluster.Version
	a.info.Features.Transfer = []int32{int32(vzpb.TransferVersion_TRANSFER_VERSION_1)}

	group, ctx := errgroup.WithContext(ctx)
	a.ctx, a.tasks = ctx, group
	if err := a.recover(ctx); err != nil {
		group.Go(func() error { return err }) // ends those that have begun
		lis.Close()
		return group.Wait()
	}
	srv := rpc.NewServer(migrate.TransferServerOptions()...)
	vzpb.RegisterNodeServer(srv, &server{a: a})
	a.log.Info("agent runs", "address", a.info.Address, "boot", a.boot, "start", a.state.AgentStarts)
	parts := []func(context.Context) error{
		func(ctx context.Context) error { return rpc.Serve(ctx, srv, lis) },
		a.session, a.look,
	}
	// A runtime with a life of its own begins it after the sweep.
	if r, ok := a.cfg.Runtime.(interface{ Run(context.Context) error }); ok {
		parts = append(parts, r.Run)
	}
	for _, f := range parts {
		group.Go(func() error { return f(ctx) })
	}
	err = group.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// recover finds out what a former life of the agent left to do.
func (a *Agent) recover(ctx context.Context) error {
	// A damaged journal stops the agent: it must not guess whether a container may run. The containers are not touched.
	found, err := migrate.Journals(a.journalDir())
	if err != nil {
		return err
	}
	keep := make(map[string]bool, len(found))
	for _, b := range found {
		keep[b.Attempt.ID] = true
	}
	if err := a.cfg.Runtime.Sweep(ctx, keep); err != nil {
		return err
	}
	a.refresh(ctx)
	for _, b := range found {
		a.log.Info("migration goes on", "migration", b.Attempt.ID, "role", b.Role)
		if err := a.resume(b); err != nil {
			return err
		}
	}
	return nil
}

// advertise is the address that others are told.
func (a *Agent) advertise(lis net.Addr) string {
	if a.cfg.Advertise != "" {
		return a.cfg.Advertise
	}
	tcp, ok := lis.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return lis.String()
	}
	for _, m := range a.cfg.Masters {
		// Sends nothing: it only asks the kernel which address it would use.
		c, err := net.Dial("udp", m)
		if err != nil {
			continue
		}
		defer c.Close()
		if local, ok := c.LocalAddr().(*net.UDPAddr); ok {
			return net.JoinHostPort(local.IP.String(), fmt.Sprint(tcp.Port))
		}
	}
	return lis.String()
}

// wake has a report sent at once.
func (a *Agent) wake() {
	select {
	case a.news <- struct{}{}:
	default:
	}
}

// report puts together everything that this agent holds. It looks at nothing: a vote must not wait.
func (a *Agent) report(seq uint64) (*vzpb.Report, error) {
	info, err := json.Marshal(a.info)
	if err != nil {
		return nil, err
	}
	r := &vzpb.Report{
		Seq: seq, Node: a.cfg.Name, BootId: a.boot, AgentStarts: a.state.AgentStarts, InfoJson: info, MaxTerm: a.state.maxTerm(),
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for ctid, list := range a.copies {
		for _, c := range list {
			cr := &vzpb.CopyReport{
				Ctid: ctid, Epoch: uint64(c.Epoch), State: string(c.State), RunGen: c.RunGen, SpecGen: c.SpecGen, Pid: int32(c.Pid), Usage: c.usage,
			}
			if c.State != cluster.CopyRetired && c.State != cluster.CopyStaged {
				cr.ExecSessions = int32(min(a.sessions[ctid], math.MaxInt32))
				if f, ok := a.failures[ctid]; ok {
					cr.Error, cr.ErrorGen = f.text, f.gen
				}
			}
			r.Copies = append(r.Copies, cr)
		}
	}
	for ctid, f := range a.failures {
		if w, ok := a.wanted[ctid]; ok && len(a.copies[ctid]) == 0 {
			r.Copies = append(r.Copies, &vzpb.CopyReport{Ctid: ctid, Epoch: uint64(w.c.Epoch), State: string(cluster.CopyFailed), Error: f.text, ErrorGen: f.gen})
		}
	}
	for id, m := range a.migrations {
		mr, err := m.report(id)
		if err != nil {
			return nil, err
		}
		r.Migrations = append(r.Migrations, mr)
	}
	for d := range a.templates {
		r.Templates = append(r.Templates, d)
	}
	return r, nil
}
