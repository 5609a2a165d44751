package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate/journal"
	"github.com/vzcluster/vzcluster/pkg/migrate/rootsync"
	"github.com/vzcluster/vzcluster/proto/vzpb"
	"golang.org/x/sync/errgroup"
)

// TargetConfig is what a target's side needs of its agent.
type TargetConfig struct {
	Engine     TargetEngine
	Node       string // this node's name
	JournalDir string // durable
	ImagesDir  string // on a tmpfs: it survives the agent and not the host
	// Notify and Settled: see SourceConfig.
	Notify  func()
	Settled func(ctx context.Context)
	// WaitLease waits until this agent's lease is valid (R2).
	WaitLease func(ctx context.Context) error
	// ColdStart starts the container from its files, since its tasks died after the commit (R9, R11).
	ColdStart func(ctx context.Context, a Attempt, epoch cluster.Epoch) error
	Log       *slog.Logger
}

// Target is one attempt's part at the host that the container comes to.
type Target struct {
	runner
	cfg TargetConfig
	j   *journal.Journal
	had map[string]journal.Record
	log *slog.Logger

	vote   voteRecord // of what is staged
	held   bool       // restored in this life of the agent
	voted  func()     // ends the stage that begins with the vote
	root   string     // set before ready is closed
	ready  chan struct{}
	round  chan struct{} // a running round is on the disk
	staged chan *staging // the stream's end result, once
	over   chan struct{} // closed when Run ends
	serve  serving
}

// staging is what a stream has brought, verified.
type staging struct {
	body []byte
	tree *rootsync.Receiver
}

// NewTarget begins the attempt, durably and before a byte is accepted (R7), or resumes it from its journal.
func NewTarget(cfg TargetConfig, a Attempt) (*Target, error) {
	t := &Target{cfg: cfg, ready: make(chan struct{}), round: make(chan struct{}, 1), staged: make(chan *staging, 1), over: make(chan struct{})}
	t.serve.replies = make(chan *vzpb.TransferReply, 4)
	t.init(a, cfg.Notify)
	if t.cfg.Settled == nil {
		t.cfg.Settled = func(context.Context) {}
	}
	if t.cfg.Log == nil {
		t.cfg.Log = slog.Default()
	}
	t.log = t.cfg.Log.With("migration", a.ID, "role", RoleTarget, "ctid", a.Container.CTID)
	path := JournalPath(cfg.JournalDir, a.ID, RoleTarget)
	var err error
	if t.j, t.had, err = openJournal(path, Begin{RoleTarget, a}); err != nil {
		return nil, err
	}
	if r, ok := t.had[stepStaged]; ok {
		if err := unmarshal(r.Data, &t.vote); err != nil {
			return nil, &journal.CorruptError{Path: path, Why: err.Error()}
		}
		// Not "held": that restore died with the former agent. It is voted for again once it stands again.
		t.status.Step = string(cluster.TargetPrepared)
		t.serve.closed = true
	}
	for step, end := range map[string]cluster.TargetStep{stepRunning: cluster.TargetRunning, stepDiscarded: cluster.TargetDiscarded} {
		if _, ok := t.had[step]; ok {
			t.status.Step = string(end)
		}
	}
	return t, nil
}

// Forget removes the journal: the masters have closed the record and nobody will ask again.
func (t *Target) Forget() error { return t.j.Remove() }

// Run does the target's part until it is over (nil) or ctx ends. It is called once.
func (t *Target) Run(ctx context.Context) error {
	defer close(t.over)
	switch {
	case t.has(stepRunning), t.has(stepDiscarded):
		return nil
	case t.has(stepReleasing):
		// Committed, and something may have run: there is only one way on (R9).
		if _, err := t.until(ctx, func(m cluster.Migration) bool { return m.Phase.Decided() }); err != nil {
			return err
		}
		return t.settle(ctx)
	}
	err := t.runPhases(ctx, []phase{
		{cluster.PhasePrepare, t.prepare},
		{cluster.PhaseCopy, t.arm},
		{cluster.PhaseSwitch, t.hold},
	})
	if err != nil {
		return err
	}
	return t.settle(ctx)
}

func (t *Target) has(step string) bool { _, ok := t.had[step]; return ok }

func (t *Target) append(step string, data any) error {
	if err := t.j.Append(step, data); err != nil {
		return err
	}
	t.had[step] = journal.Record{Step: step}
	return nil
}

func (t *Target) images() string { return filepath.Join(t.cfg.ImagesDir, t.attempt.ID) }

func (t *Target) consoleDir() string { return t.images() + ".console" }

// prepare reserves, and opens the door for the stream.
func (t *Target) prepare(ctx context.Context, a Assignment) error {
	if t.has(stepStaged) {
		return nil
	}
	if a.Migration.Phase == cluster.PhaseSwitch {
		return errors.New("the agent was restarted before everything had arrived")
	}
	defer t.watch.begin(StagePrepare)()
	root, err := t.cfg.Engine.Reserve(ctx, t.attempt)
	if err != nil {
		return err
	}
	t.root = root
	close(t.ready)
	t.set(func(s *Status) { s.Step = string(cluster.TargetPrepared) })
	return nil
}

// arm starts what a restore will need while the container still runs at the source: once the first round is here, since what is mounted
// has to be there, or at the latest at the switch.
func (t *Target) arm(ctx context.Context, _ Assignment) error {
	if !t.has(stepStaged) {
		if err := t.firstRound(ctx); err != nil {
			return err
		}
	}
	defer t.watch.begin(StageArm)()
	if err := t.cfg.Engine.Prepare(ctx, t.attempt); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	return nil
}

func (t *Target) firstRound(ctx context.Context) error {
	for {
		t.mu.Lock()
		switching, changed := phaseRank[t.latest.Migration.Phase] >= phaseRank[cluster.PhaseSwitch], t.changed
		t.mu.Unlock()
		if switching {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.round:
			return nil
		case <-changed:
		}
	}
}

// hold restores what has come and holds it before its first instruction; then it votes.
func (t *Target) hold(ctx context.Context, _ Assignment) error {
	var tree *rootsync.Receiver
	if t.has(stepStaged) {
		if err := t.verifyAgain(); err != nil {
			return err
		}
	} else {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case st := <-t.staged:
			t.vote = voteRecord{Digest: DigestOf(st.body), Manifest: st.body}
			tree = st.tree
			defer tree.Close()
		}
	}
	if err := t.restore(ctx, tree); err != nil {
		return err
	}
	t.held, t.voted = true, t.watch.begin(StageCommit)
	t.set(func(s *Status) { s.Step, s.Digest = string(cluster.TargetHeld), t.vote.Digest })
	t.reply(&vzpb.TransferReply{Part: &vzpb.TransferReply_Held{Held: &vzpb.TransferHeld{Digest: t.vote.Digest}}})
	return nil
}

// restore restores, and beside that makes durable what a vote promises: the files, and the journal's word that they are complete.
func (t *Target) restore(ctx context.Context, tree *rootsync.Receiver) error {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer t.watch.begin(StageRestore)()
		if err := t.cfg.Engine.Restore(gctx, t.attempt, t.images()); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
		return nil
	})
	if tree != nil {
		g.Go(func() error {
			defer t.watch.begin(StageSync)()
			if err := tree.Sync(); err != nil {
				return err
			}
			return t.append(stepStaged, t.vote)
		})
	}
	g.Go(func() error {
		file := filepath.Join(t.consoleDir(), consoleLog)
		if _, err := os.Stat(file); err != nil {
			return nil // it had none, or it was taken over already
		}
		return t.cfg.Engine.ImportConsoleLog(gctx, t.attempt, file)
	})
	return g.Wait()
}

// verifyAgain compares the images that a former life of this agent received with the manifest that it journalled.
func (t *Target) verifyAgain() error {
	defer t.watch.begin(StageVerify)()
	m, err := DecodeManifest(t.vote.Manifest)
	if err != nil {
		return err
	}
	files, err := readFiles(t.images(), m.Files)
	if err != nil {
		return fmt.Errorf("the images are gone: %w", err)
	}
	for _, f := range m.Files {
		if f.Set == SetConsole {
			files = append(files, f)
		}
	}
	return m.verify(t.attempt, t.cfg.Node, m.Rootfs, files)
}

// settle carries out the verdict.
func (t *Target) settle(ctx context.Context) error {
	switch t.Phase() {
	case cluster.PhaseAborting, cluster.PhaseFailed:
		return t.discard(ctx)
	}
	// R2: nothing runs here without the commit, which is known now, and a valid lease.
	if err := t.cfg.WaitLease(ctx); err != nil {
		return err
	}
	if t.voted != nil {
		t.voted()
	}
	if !t.held && !t.has(stepReleasing) {
		t.restoreCommitted(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return t.release(ctx)
}

// restoreCommitted restores again what was held when the commit came: nothing of it has run yet. If that can't be done, the files are
// what is left, and the release will find nothing to release (R11).
func (t *Target) restoreCommitted(ctx context.Context) {
	err := errors.New("nothing is staged")
	if t.has(stepStaged) {
		err = t.verifyAgain()
	}
	if err == nil {
		err = t.cfg.Engine.Prepare(ctx, t.attempt)
	}
	if err == nil {
		err = t.restore(ctx, nil)
	}
	if err != nil && ctx.Err() == nil {
		t.log.Error("committed, and can't be restored again; the container will be started anew", "err", err)
	}
}

// release lets the container run. From the journal's word on, the images are dead (R9).
func (t *Target) release(ctx context.Context) error {
	defer t.watch.begin(StageRelease)()
	if !t.has(stepReleasing) {
		if err := t.append(stepReleasing, nil); err != nil {
			return err
		}
	}
	err := t.insist(ctx, "release", func(ctx context.Context) error {
		// The journal's sync may have taken longer than the lease had left.
		if err := t.cfg.WaitLease(ctx); err != nil {
			return err
		}
		err := t.cfg.Engine.Release(ctx, t.attempt, t.newEpoch())
		if errors.Is(err, ErrLost) {
			t.log.Error("the container's tasks were lost after the commit; it is started anew", "err", err)
			return t.cfg.ColdStart(ctx, t.attempt, t.newEpoch())
		}
		return err
	})
	if err != nil {
		return err
	}
	t.reply(&vzpb.TransferReply{Part: &vzpb.TransferReply_Released{Released: &vzpb.TransferReleased{}}})
	return t.finish(ctx, stepRunning, cluster.TargetRunning)
}

// newEpoch is the epoch under which the container runs here: that of the commit, or a later one if the masters have moved on since.
func (t *Target) newEpoch() cluster.Epoch {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.latest.Container; c.CTID == t.attempt.Container.CTID && c.Node == t.cfg.Node && c.Epoch > t.attempt.Epoch {
		return c.Epoch
	}
	return t.attempt.Epoch + 1
}

func (t *Target) discard(ctx context.Context) error {
	t.stopServing()
	select {
	case st := <-t.staged: // the verdict came before anybody looked at it
		st.tree.Close()
	default:
	}
	if err := t.insist(ctx, "discard", func(ctx context.Context) error { return t.cfg.Engine.Discard(ctx, t.attempt) }); err != nil {
		return err
	}
	return t.finish(ctx, stepDiscarded, cluster.TargetDiscarded)
}

func (t *Target) finish(ctx context.Context, step string, end cluster.TargetStep) error {
	for _, dir := range []string{t.images(), t.consoleDir()} {
		if err := os.RemoveAll(dir); err != nil {
			t.log.Warn("images stay behind", "err", err)
		}
	}
	if err := t.append(step, nil); err != nil {
		return err
	}
	t.cfg.Settled(ctx)
	t.set(func(s *Status) { s.Step, s.Error = string(end), "" })
	t.log.Info("migration is over here", "step", end)
	return nil
}

// limits are what the stream may write here: what was reserved, and a tenth more for the other file system's way of keeping it.
func (t *Target) limits() (root rootsync.Limits, images uint64) {
	spec := t.attempt.Container.Spec
	root = rootsync.Limits{Bytes: spec.Resources.DiskBytes + spec.Resources.DiskBytes/10, Inodes: maxInodes}
	images = uint64(math.MaxInt64)
	if spec.Resources.MemoryBytes > 0 {
		images = spec.Resources.MemoryBytes + spec.SwapBytes + imageSlack
	}
	return root, images
}

const (
	maxInodes  = 20 << 20
	imageSlack = 256 << 20 // bytes of CRIU's own records, and of console output
)
