package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate/journal"
	"github.com/vzcluster/vzcluster/pkg/migrate/rootsync"
	"github.com/vzcluster/vzcluster/proto/vzpb"
	"google.golang.org/grpc"
)

// SourceConfig is what a source's side needs of its agent.
type SourceConfig struct {
	Engine     SourceEngine
	Dial       func(addr string) (*grpc.ClientConn, error) // to another agent; see TransferOptions
	JournalDir string                                      // durable
	ImagesDir  string                                      // on a tmpfs, since memory images hold secrets
	// Notify is called when Status has something new that should be reported at once. It must not block.
	Notify func()
	// Settled is called after the side's last action, before its last step is shown in Status: the agent looks at the container first, so
	// that one report never tells of the step and of the state before it. May be nil.
	Settled func(ctx context.Context)
	// Quiesce is called before the freeze: nobody may enter the container from then on. An error is a wish to abort. May be nil.
	Quiesce func() error
	// WaitLease waits until this agent's lease is valid: without one nothing is frozen.
	WaitLease func(ctx context.Context) error
	Faults    *Faults // for tests
	Log       *slog.Logger
}

// Source is one attempt's part at the host that the container leaves.
type Source struct {
	runner
	cfg SourceConfig
	j   *journal.Journal
	had map[string]journal.Record // what an earlier life of the agent did
	log *slog.Logger

	out      *outStream
	tree     *rootsync.Sender
	rounds   []Round
	number   uint32
	lastTree time.Time // when the last running round began
	mapped   []string  // files that were mapped when it was scanned
	frozen   time.Time
	stats    cluster.MigrationStats

	sent, total atomic.Uint64
}

// NewSource begins the attempt, durably, or resumes it from its journal.
func NewSource(cfg SourceConfig, a Attempt) (*Source, error) {
	s := &Source{cfg: cfg}
	s.init(a, cfg.Notify)
	if s.cfg.Settled == nil {
		s.cfg.Settled = func(context.Context) {}
	}
	if s.cfg.Quiesce == nil {
		s.cfg.Quiesce = func() error { return nil }
	}
	if s.cfg.Log == nil {
		s.cfg.Log = slog.Default()
	}
	s.log = s.cfg.Log.With("migration", a.ID, "role", RoleSource, "ctid", a.Container.CTID)
	var err error
	s.j, s.had, err = openJournal(JournalPath(cfg.JournalDir, a.ID, RoleSource), Begin{RoleSource, a})
	if err != nil {
		return nil, err
	}
	if r, ok := s.had[stepShipped]; ok {
		var v voteRecord
		if err := unmarshal(r.Data, &v); err != nil {
			return nil, &journal.CorruptError{Path: JournalPath(cfg.JournalDir, a.ID, RoleSource), Why: err.Error()}
		}
		s.status.Step, s.status.Digest = string(cluster.SourceShipped), v.Digest
	}
	for step, end := range map[string]cluster.SourceStep{stepThawed: cluster.SourceThawed, stepDestroyed: cluster.SourceDestroyed} {
		if _, ok := s.had[step]; ok {
			s.status.Step = string(end)
		}
	}
	return s, nil
}

func unmarshal(raw []byte, v any) error {
	if len(raw) == 0 {
		return errors.New("record without data")
	}
	return json.Unmarshal(raw, v)
}

// Forget removes the journal: the masters have closed the record and nobody will ask again.
func (s *Source) Forget() error { return s.j.Remove() }

// Status is what is to be reported now, the progress of the copy included.
func (s *Source) Status() Status {
	st := s.runner.Status()
	if st.Step == string(cluster.SourcePrepared) && s.total.Load() > 0 {
		st.Progress = &vzpb.Progress{What: "copying files", DoneBytes: s.sent.Load(), TotalBytes: s.total.Load()}
	}
	return st
}

// Run does the source's part until it is over (nil) or ctx ends. It is called once.
func (s *Source) Run(ctx context.Context) error {
	if s.over() {
		return nil
	}
	defer s.disconnect()
	var err error
	switch {
	case s.has(stepShipped):
		// R3: voted, so only the verdict counts.
		_, err = s.until(ctx, func(m cluster.Migration) bool { return m.Phase.Decided() })
	case s.has(stepFreezing):
		// Nobody knows how far the dump came and whether the tasks are frozen: the masters abort, and then it thaws (R3).
		s.fail(errors.New("the agent was restarted while the container was being frozen"))
		fallthrough
	default:
		err = s.runPhases(ctx, []phase{
			{cluster.PhasePrepare, s.prepare},
			{cluster.PhaseCopy, s.copy},
			{cluster.PhaseSwitch, s.switchOver},
		})
	}
	if err != nil {
		return err
	}
	return s.settle(ctx)
}

func (s *Source) has(step string) bool { _, ok := s.had[step]; return ok }

func (s *Source) over() bool { return s.has(stepThawed) || s.has(stepDestroyed) }

func (s *Source) append(step string, data any) error {
	if err := s.j.Append(step, data); err != nil {
		return err
	}
	s.had[step] = journal.Record{Step: step}
	return nil
}

func (s *Source) disconnect() {
	if s.out != nil {
		s.out.close()
		s.out = nil
	}
	if s.tree != nil {
		s.tree.Close()
		s.tree = nil
	}
}

func (s *Source) prepare(ctx context.Context, _ Assignment) error {
	defer s.watch.begin(StagePrepare)()
	if err := s.cfg.Engine.Preflight(ctx, s.attempt); err != nil {
		return err
	}
	s.set(func(st *Status) { st.Step = string(cluster.SourcePrepared) })
	return nil
}

// settle carries out the verdict.
func (s *Source) settle(ctx context.Context) error {
	switch s.Phase() {
	case cluster.PhaseAborting, cluster.PhaseFailed:
		return s.abort(ctx)
	}
	// Committed: this copy is dead. It stays frozen, and its network cut, until the target runs (R10).
	if err := s.untilDone(ctx); err != nil {
		return err
	}
	if err := s.insist(ctx, "forward held frames", func(ctx context.Context) error { return s.cfg.Engine.Forward(ctx, s.attempt) }); err != nil {
		return err
	}
	if _, err := s.until(ctx, func(m cluster.Migration) bool { return m.Phase == cluster.PhaseDone }); err != nil {
		return err
	}
	end := s.watch.begin(StageDestroy)
	if err := s.insist(ctx, "destroy", func(ctx context.Context) error { return s.cfg.Engine.Destroy(ctx, s.attempt) }); err != nil {
		return err
	}
	end()
	return s.finish(ctx, stepDestroyed, cluster.SourceDestroyed)
}

// abort thaws: on the verdict about this very attempt, and on nothing else (R3).
func (s *Source) abort(ctx context.Context) error {
	s.disconnect()
	end := s.watch.begin(StageThaw)
	if err := s.insist(ctx, "thaw", func(ctx context.Context) error { return s.cfg.Engine.Thaw(ctx, s.attempt) }); err != nil {
		return err
	}
	end()
	return s.finish(ctx, stepThawed, cluster.SourceThawed)
}

// untilDone waits for the target's word on the stream that the container runs there, or for the masters'.
func (s *Source) untilDone(ctx context.Context) error {
	var released chan struct{} // nil: never
	if s.out != nil {
		released = s.out.released
	}
	for {
		s.mu.Lock()
		done, changed := s.latest.Migration.Phase == cluster.PhaseDone, s.changed
		s.mu.Unlock()
		select {
		case <-released:
			s.stats.Frozen = time.Since(s.frozen)
			stats := s.stats
			s.set(func(st *Status) { st.Stats = &stats })
			return nil
		default:
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-released:
		}
	}
}

func (s *Source) finish(ctx context.Context, step string, end cluster.SourceStep) error {
	if err := os.RemoveAll(filepath.Join(s.cfg.ImagesDir, s.attempt.ID)); err != nil {
		s.log.Warn("images stay behind", "err", err)
	}
	if err := s.append(step, nil); err != nil {
		return err
	}
	s.cfg.Settled(ctx)
	stats := s.stats
	s.set(func(st *Status) {
		st.Step, st.Error = string(end), ""
		if stats.Rounds > 0 {
			st.Stats = &stats
		}
	})
	s.log.Info("migration is over here", "step", end)
	return nil
}

func (s *Source) failStream(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("transfer: %w", err)
}
