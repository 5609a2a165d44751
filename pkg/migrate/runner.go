package migrate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate/journal"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// The roles of an agent in an attempt.
const (
	RoleSource = "source"
	RoleTarget = "target"
)

// Assignment is what the masters say of an attempt: its record, and where the other agent is. The latest one counts.
type Assignment struct {
	Migration cluster.Migration
	Container cluster.Container
	Peer      string // host:port
}

// Status is what a side reports of its part.
type Status struct {
	Step     string // cluster.SourceStep or cluster.TargetStep
	Digest   string // with a vote
	Error    string // wish to abort
	Stages   []cluster.StageTime
	Stats    *cluster.MigrationStats // source only
	Progress *vzpb.Progress
}

// Begin is the first record of a journal: with it a restarted agent knows what it has to do with the attempt.
type Begin struct {
	Role    string  `json:"role"`
	Attempt Attempt `json:"attempt"`
}

// Steps in the journals.
const (
	stepBegin     = "begin"     // both: before a byte is accepted or a task is touched (R7)
	stepFreezing  = "freezing"  // source: before the network is cut; from here on only the verdict thaws
	stepShipped   = "shipped"   // source: the vote
	stepThawed    = "thawed"    // source: end
	stepDestroyed = "destroyed" // source: end
	stepStaged    = "staged"    // target: everything is here and verified
	stepReleasing = "releasing" // target: before the first instruction; images are never restored again (R9)
	stepRunning   = "running"   // target: end
	stepDiscarded = "discarded" // target: end
)

type voteRecord struct {
	Digest   string `json:"digest"`
	Manifest []byte `json:"manifest,omitempty"`
}

var attemptID = regexp.MustCompile(`^[0-9]{1,20}$`)

// JournalPath is where the journal of an attempt's side is, below dir.
func JournalPath(dir, id, role string) string { return filepath.Join(dir, id+"."+role) }

// Journals lists the attempts that have a journal in dir, by path. A journal without a first record is of an attempt that nothing was
// done for; it is removed. A damaged one is an error beside the others: the agent must not guess about that container.
func Journals(dir string) (map[string]Begin, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.*"))
	if err != nil {
		return nil, err
	}
	found := make(map[string]Begin)
	var errs []error
	for _, p := range paths {
		j, recs, err := journal.Open(p)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if len(recs) == 0 {
			errs = append(errs, j.Remove())
			continue
		}
		j.Close()
		b, err := beginOf(recs)
		if err != nil || JournalPath(dir, b.Attempt.ID, b.Role) != p {
			errs = append(errs, &journal.CorruptError{Path: p, Why: "the first record is of another attempt"})
			continue
		}
		found[p] = b
	}
	return found, errors.Join(errs...)
}

func beginOf(recs []journal.Record) (b Begin, err error) {
	if recs[0].Step != stepBegin {
		return b, errors.New("no first record")
	}
	return b, unmarshal(recs[0].Data, &b)
}

// openJournal opens or begins the journal of an attempt (R7) and returns the last record of each step.
func openJournal(path string, b Begin) (*journal.Journal, map[string]journal.Record, error) {
	if !attemptID.MatchString(b.Attempt.ID) {
		return nil, nil, fmt.Errorf("attempt %q: not a migration's id", b.Attempt.ID)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, nil, err
	}
	j, recs, err := journal.Open(path)
	if err != nil {
		return nil, nil, err
	}
	if len(recs) == 0 {
		if err := j.Append(stepBegin, b); err != nil {
			j.Close()
			return nil, nil, err
		}
		return j, map[string]journal.Record{}, nil
	}
	steps := make(map[string]journal.Record, len(recs))
	for _, r := range recs {
		steps[r.Step] = r
	}
	return j, steps, nil
}

// errDecided ends the phases before the verdict.
var errDecided = errors.New("the attempt has been decided")

// runner is what both sides have in common: the latest assignment, the status, and the phases.
type runner struct {
	attempt Attempt
	watch   stopwatch
	notify  func()

	mu      sync.Mutex
	latest  *Assignment
	changed chan struct{} // closed when latest or failure changes
	failure error         // from outside the phases
	status  Status
}

func (r *runner) init(a Attempt, notify func()) {
	r.attempt, r.notify, r.changed = a, notify, make(chan struct{})
	if r.notify == nil {
		r.notify = func() {}
	}
}

// Assign hands over the latest assignment. Those of another attempt are ignored (R4, R5).
func (r *runner) Assign(a Assignment) {
	if a.Migration.ID != r.attempt.ID || a.Migration.Epoch != r.attempt.Epoch || a.Migration.CTID != r.attempt.Container.CTID {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// A verdict is for ever (R11); an older record that arrives late cannot take it back.
	if r.latest != nil && r.latest.Migration.Phase.Decided() && !a.Migration.Phase.Decided() {
		return
	}
	r.latest = &a
	close(r.changed)
	r.changed = make(chan struct{})
}

// fail makes the phases before the verdict end with err.
func (r *runner) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure == nil {
		r.failure = err
		close(r.changed)
		r.changed = make(chan struct{})
	}
}

// Phase is the phase of the record as last heard; empty before the first assignment.
func (r *runner) Phase() cluster.Phase {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.latest == nil {
		return ""
	}
	return r.latest.Migration.Phase
}

// Closed tells whether the masters have closed the record.
func (r *runner) Closed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.latest != nil && r.latest.Migration.Closed
}

// Attempt names what the runner is for.
func (r *runner) Attempt() Attempt { return r.attempt }

// Status is what is to be reported now.
func (r *runner) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.status
	s.Stages = r.watch.times()
	return s
}

func (r *runner) set(f func(*Status)) {
	r.mu.Lock()
	f(&r.status)
	r.mu.Unlock()
	r.notify()
}

// until waits for an assignment that ok accepts.
func (r *runner) until(ctx context.Context, ok func(cluster.Migration) bool) (Assignment, error) {
	for {
		r.mu.Lock()
		latest, changed := r.latest, r.changed
		r.mu.Unlock()
		if latest != nil && ok(latest.Migration) {
			return *latest, nil
		}
		select {
		case <-ctx.Done():
			return Assignment{}, ctx.Err()
		case <-changed:
		}
	}
}

func (r *runner) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure
}

// phase is one part of a side's work before the verdict.
type phase struct {
	name cluster.Phase
	run  func(ctx context.Context, a Assignment) error
}

var phaseRank = map[cluster.Phase]int{
	cluster.PhasePending: 0, cluster.PhasePrepare: 1, cluster.PhaseCopy: 2, cluster.PhaseSwitch: 3,
	cluster.PhaseCommitted: 4, cluster.PhaseDone: 5, cluster.PhaseAborting: 4, cluster.PhaseFailed: 5,
}

// runPhases goes through the phases as the record reaches them. The verdict ends whatever is being done. A failure is reported as the wish
// to abort; what happens then is the masters' decision alone.
func (r *runner) runPhases(ctx context.Context, list []phase) error {
	for _, p := range list {
		err := r.runPhase(ctx, p)
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, errDecided) {
			return nil
		}
		text := fmt.Sprintf("%s: %v", p.name, err)
		if errors.Is(err, r.failed()) { // it has nothing to do with the phase
			text = err.Error()
		}
		r.set(func(s *Status) { s.Error = text })
		break
	}
	_, err := r.until(ctx, func(m cluster.Migration) bool { return m.Phase.Decided() })
	return err
}

// runPhase waits until the record has reached the phase, and runs it unless the attempt has been decided.
func (r *runner) runPhase(ctx context.Context, p phase) error {
	if err := r.failed(); err != nil {
		return err
	}
	phaseCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		for {
			r.mu.Lock()
			failure, changed := r.failure, r.changed
			decided := r.latest != nil && r.latest.Migration.Phase.Decided()
			r.mu.Unlock()
			if decided {
				cancel(errDecided)
				return
			}
			if failure != nil {
				cancel(failure)
				return
			}
			select {
			case <-phaseCtx.Done():
				return
			case <-changed:
			}
		}
	}()
	a, err := r.until(phaseCtx, func(m cluster.Migration) bool { return phaseRank[m.Phase] >= phaseRank[p.name] })
	if err == nil && a.Migration.Phase.Decided() {
		err = errDecided
	}
	if err == nil {
		err = p.run(phaseCtx, a)
	}
	cause := context.Cause(phaseCtx)
	cancel(nil)
	<-watching
	if err != nil && cause != nil {
		return cause
	}
	return err
}

// insist repeats an action that has to succeed in the end, such as carrying out a verdict. What is in the way is reported.
func (r *runner) insist(ctx context.Context, what string, f func(context.Context) error) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := f(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			return nil
		}
		r.set(func(s *Status) { s.Error = fmt.Sprintf("%s: %v", what, err) })
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
