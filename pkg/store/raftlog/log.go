package raftlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/pkg/store/internal/kv"
)

var _ store.Log = (*Log)(nil)

// Deadlines of our own around raft's futures; see the package comment.
const (
	commitTimeout   = 30 * time.Second // from proposal to outcome, when the caller's context allows longer
	enqueueTimeout  = 5 * time.Second  // until raft's main loop takes a proposal
	barrierTimeout  = 10 * time.Second
	verifyTimeout   = 5 * time.Second
	changeTimeout   = 15 * time.Second // of the membership
	transferTimeout = 5 * time.Second
	handoverTimeout = 2 * time.Second // of the leadership when Run ends
	drainTimeout    = 2 * time.Second // of the calls that are under way then
	shutdownTimeout = 10 * time.Second
	admitTimeout    = 5 * time.Second  // for the other masters to say whether this one may take part
	rpcTimeout      = 10 * time.Second // of raft's transport
	maxPooledConns  = 3                // per peer
)

// errStopped: Run has returned.
var errStopped = errors.New("raft: stopped")

// Log is one member. Its methods work while Run runs, and wait for it to begin or say ErrNotLeader.
type Log struct {
	conf    Config
	log     *slog.Logger
	machine *kv.Machine
	fsm     *fsm

	raft    *raft.Raft    // set before ready is closed
	ready   chan struct{} // closed when raft runs
	stopped chan struct{} // closed when Run returns

	fatalOnce sync.Once
	fatal     chan error // the one error that ends Run

	leadLock sync.Mutex // held by Lead: raft's leader channel has one reader
	dog      watchdog
	peers    peers
	alarms   alarms
	barrier  atomic.Uint64 // the last term in which a barrier of ours was committed
	pulse    pulse
	presence atomic.Pointer[presence] // nil: the directory is not open yet
	calls    calls
}

// New returns a member that does nothing before Run. It fails when conf lacks something.
func New(conf Config) (*Log, error) {
	if err := conf.check(); err != nil {
		return nil, err
	}
	if conf.Logger == nil {
		conf.Logger = slog.Default()
	}
	if conf.DiskLimit == 0 {
		conf.DiskLimit = DefaultDiskLimit
	}
	l := &Log{
		conf:    conf,
		log:     conf.Logger.With("master", conf.ID),
		machine: kv.New(),
		ready:   make(chan struct{}),
		stopped: make(chan struct{}),
		fatal:   make(chan error, 1),
	}
	l.fsm = &fsm{machine: l.machine, fatal: l.die}
	return l, nil
}

// die has Run end with err; only the first counts.
func (l *Log) die(err error) {
	l.fatalOnce.Do(func() {
		l.log.Error("this master can't go on", "err", err)
		l.fatal <- err
	})
}

// Run opens the data directory and takes part in raft until ctx ends, which is no error; a leader then hands over first. It is
// called once. When it fails the process must end: the state on disk is only good after it was read again.
func (l *Log) Run(ctx context.Context) (err error) {
	defer close(l.stopped)
	beat, stopBeat := context.WithCancel(context.Background())
	defer stopBeat()
	go l.dog.run(beat, l.conf.DiskLimit, l.hung)
	d, err := openDisk(l.conf.DataDir, l.conf.ID, l.log)
	if err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	r, trans, err := l.start(d)
	if err != nil {
		return errors.Join(fmt.Errorf("raft: %w", err), d.close())
	}
	l.raft = r
	close(l.ready)

	go l.pulse.run(beat)
	go l.watchPeers(beat)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		l.watch(beat)
	}()

	select {
	case <-ctx.Done():
		l.handOver()
		// raft forgets to answer what is under way when it shuts down.
		l.calls.drain(drainTimeout)
	case err = <-l.fatal:
	}
	// The transport first: on a hung disk Shutdown never ends, but nobody shall take this member for alive.
	closeErr := trans.Close()
	if errors.Is(err, ErrDiskHung) {
		// Whatever else is done hangs too, as long as the disk does.
		go func() { _ = errors.Join(r.Shutdown().Error(), d.close()) }()
		return err
	}
	if hung := new(calls).await(context.Background(), shutdownTimeout, func() error { return r.Shutdown().Error() }); hung != nil {
		return errors.Join(err, fmt.Errorf("raft: shut down: %w", hung))
	}
	stopBeat()
	<-watched
	return errors.Join(err, closeErr, d.close())
}

// watch writes the canary until ctx ends.
func (l *Log) watch(ctx context.Context) {
	if err := l.dog.canary(ctx, l.conf.DataDir); err != nil {
		l.die(err)
	}
}

// hung ends the process, or Run if there is nobody who could.
func (l *Log) hung(err error) {
	err = fmt.Errorf("raft: %s: %w; the process ends so that another master leads; look at the disk, then start this master again",
		l.conf.DataDir, err)
	if l.conf.Abandon != nil {
		l.conf.Abandon(err)
	}
	l.die(err)
}

// start brings raft up on d.
func (l *Log) start(d *disk) (*raft.Raft, *raft.NetworkTransport, error) {
	conf := l.conf.library(l.log)
	logs := strict{d.log, l.die, &l.dog}
	existing, err := raft.HasExistingState(logs, logs, d.snapshots)
	if err != nil {
		return nil, nil, fmt.Errorf("read the log: %w", err)
	}
	last, err := lastIndex(logs, d.snapshots)
	if err != nil {
		return nil, nil, fmt.Errorf("read the log: %w", err)
	}
	// Before the others can reach it: nobody may get a vote from a directory that has forgotten what it acknowledged.
	bootstrap, err := l.present(existing, last)
	if err != nil {
		return nil, nil, err
	}
	trans, err := l.transport()
	if err != nil {
		return nil, nil, err
	}
	if bootstrap && !existing {
		one := raft.Configuration{Servers: []raft.Server{{ID: conf.LocalID, Address: trans.LocalAddr()}}}
		if err := raft.BootstrapCluster(conf, logs, logs, d.snapshots, trans, one); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("bootstrap: %w", err), trans.Close())
		}
		l.log.Info("made a new cluster of this master")
	}
	entries, err := cached(logs)
	if err != nil {
		return nil, nil, errors.Join(err, trans.Close())
	}
	r, err := raft.NewRaft(conf, l.fsm, entries, logs, d.snapshots, tracked{trans, &l.peers})
	if err != nil {
		return nil, nil, errors.Join(err, trans.Close())
	}
	return r, trans, nil
}

func (l *Log) transport() (*raft.NetworkTransport, error) {
	listen := l.conf.Stream
	if listen == nil {
		addr := l.conf.BindAddr
		if addr == "" {
			addr = l.conf.RaftAddr
		}
		listen = func() (raft.StreamLayer, error) { return listenTCP(addr) }
	}
	stream, err := listen()
	if err != nil {
		return nil, fmt.Errorf("listen for raft: %w", err)
	}
	if l.conf.RaftAddr != "" {
		stream = advertised{stream, l.conf.RaftAddr}
	}
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:          stream,
		MaxPool:         maxPooledConns,
		MaxRPCsInFlight: 1,
		Timeout:         rpcTimeout,
		Logger:          newHclog(l.log),
	}), nil
}

// handOver spares the others an election when this member goes on purpose.
func (l *Log) handOver() {
	if l.raft.State() != raft.Leader || l.voters() < 2 {
		return
	}
	if err := l.calls.await(context.Background(), handoverTimeout, func() error { return l.raft.LeadershipTransfer().Error() }); err != nil {
		l.log.Warn("could not hand the leadership over", "err", err)
	}
}

// up waits until raft runs. It fails when ctx ends or Run has returned.
func (l *Log) up(ctx context.Context) error {
	select {
	case <-l.stopped:
		return errStopped
	default:
	}
	select {
	case <-l.ready:
		return nil
	case <-l.stopped:
		return errStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// isUp tells whether raft runs, without waiting.
func (l *Log) isUp() bool {
	select {
	case <-l.stopped:
		return false
	default:
	}
	select {
	case <-l.ready:
		return true
	default:
		return false
	}
}

// Follow implements [store.Log]; the first image is what the last snapshot on disk holds.
func (l *Log) Follow(ctx context.Context, apply func(store.Batch)) error {
	if err := l.up(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	return l.machine.Follow(ctx, apply, nil)
}
