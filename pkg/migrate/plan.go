package migrate

import (
	"fmt"
	"slices"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// Timeouts are how long each part of a migration may take before the coordinator aborts it, or, after the commit, raises an alarm.
type Timeouts struct {
	Prepare time.Duration // until both sides are prepared
	Copy    time.Duration // rootfs rounds while the container runs
	Switch  time.Duration // freeze to both votes
	Finish  time.Duration // commit to running, done to destroyed, abort to cleaned up
}

// DefaultTimeouts are those that a coordinator uses when it is not told otherwise.
var DefaultTimeouts = Timeouts{Prepare: 30 * time.Second, Copy: 10 * time.Minute, Switch: 60 * time.Second, Finish: 60 * time.Second}

// Quiet is how long a side must have gone on reporting without a word about the attempt, after the verdict, to count as cleaned up:
// an agent that never heard of the attempt has nothing to say about it.
const Quiet = 3 * time.Second

// Seen is what the coordinator knows of one side at the moment, beyond the migration's record.
type Seen struct {
	State  cluster.NodeState
	BootID string    // of the host now
	Report time.Time // when its last report came, in this leader's time; zero: no session
	// Attempt: that report speaks of the attempt; Step, Digest and Error are what it says.
	Attempt bool
	Step    string
	Digest  string
	Error   string
	// Copies of this container that it reports to hold.
	Copies []cluster.CopyInfo
}

// gone tells whether nothing can be expected of the side: its lease is over. It learns the verdict when it returns.
func (s Seen) gone() bool { return s.State == cluster.NodeOffline || s.State == "" }

// silent tells whether the side has reported without a word about the attempt for long enough after since.
func (s Seen) silent(since time.Time) bool {
	return !s.Report.IsZero() && !s.Attempt && s.Report.Sub(since) >= Quiet
}

// neverBegan tells whether the side failed before its first step and has not come to the verdict's in a long time: an agent that could not
// even open its journal has nothing to clean up and never will have.
func (s Seen) neverBegan(since time.Time) bool {
	return s.Attempt && s.Step == "" && s.Error != "" && s.Report.Sub(since) >= 10*Quiet
}

// owns tells whether the side holds a complete copy for epoch e or a later one, running or not.
func (s Seen) owns(e cluster.Epoch) bool {
	return slices.ContainsFunc(s.Copies, func(c cluster.CopyInfo) bool {
		return c.Epoch >= e && (c.State == cluster.CopyRunning || c.State == cluster.CopyStopped)
	})
}

// has tells whether the side reports a copy in state st.
func (s Seen) has(st cluster.CopyState) bool {
	return slices.ContainsFunc(s.Copies, func(c cluster.CopyInfo) bool { return c.State == st })
}

// heldUpTo tells whether the side still holds a copy for epoch e or an older one.
func (s Seen) heldUpTo(e cluster.Epoch) bool {
	return slices.ContainsFunc(s.Copies, func(c cluster.CopyInfo) bool { return c.Epoch <= e })
}

// Change is one step of a migration: an edge, its closing, or only a new deadline with a reason (an alarm).
type Change struct {
	To       cluster.Phase // empty: the phase stays
	Reason   string
	Close    bool
	Deadline time.Time // zero: none
	Alarm    bool      // an operator should look
}

// Next decides the next step of m, or none (nil) and when to look again at the latest (zero: only when something changes).
// It is pure. What makes it safe:
//
//   - the only way to [cluster.PhaseCommitted] is through [votes]: both votes in the record, equal digests, and the target's vote
//     repeated by its present session in the boot in which it was given;
//   - abort and commit are edges out of the same phase of the same record, so exactly one can be stored (R1);
//   - nothing leads back from a decided phase, whatever a side reports or however late (R11).
func Next(m cluster.Migration, source, target Seen, now time.Time, t Timeouts) (*Change, time.Time) {
	switch m.Phase {
	case cluster.PhasePending, cluster.PhasePrepare, cluster.PhaseCopy, cluster.PhaseSwitch:
		return nextOpen(m, source, target, now, t)
	case cluster.PhaseCommitted:
		return nextCommitted(m, target, now, t)
	case cluster.PhaseDone:
		return nextDone(m, source, now, t)
	case cluster.PhaseAborting:
		return nextAborting(m, source, target, now, t)
	case cluster.PhaseFailed:
		if !m.Closed {
			return &Change{Close: true}, time.Time{}
		}
	}
	return nil, time.Time{}
}

// nextOpen: nobody has decided yet.
func nextOpen(m cluster.Migration, source, target Seen, now time.Time, t Timeouts) (*Change, time.Time) {
	if reason := targetFault(m, target); reason != "" {
		return abort(reason, now, t), time.Time{}
	}
	if m.Phase == cluster.PhaseSwitch {
		ok, reason := votes(m, target)
		switch {
		case ok: // even if the source's host has just died: the target has everything (R3: the source can't have thawed)
			return &Change{To: cluster.PhaseCommitted, Deadline: now.Add(t.Finish)}, time.Time{}
		case reason != "":
			return abort(reason, now, t), time.Time{}
		}
	}
	if reason := sourceFault(m, source); reason != "" {
		return abort(reason, now, t), time.Time{}
	}
	if !now.Before(m.Deadline) {
		return abort(fmt.Sprintf("%s took longer than its deadline (source: %s, target: %s)", m.Phase, orNone(m.From.Step), orNone(m.To.Step)), now, t), time.Time{}
	}
	switch {
	case m.Phase == cluster.PhasePending:
		return &Change{To: cluster.PhasePrepare, Deadline: now.Add(t.Prepare)}, time.Time{}
	case m.Phase == cluster.PhasePrepare && sourceAt(m, cluster.SourcePrepared) && targetAt(m, cluster.TargetPrepared):
		return &Change{To: cluster.PhaseCopy, Deadline: now.Add(t.Copy)}, time.Time{}
	case m.Phase == cluster.PhaseCopy && sourceAt(m, cluster.SourceCopied):
		return &Change{To: cluster.PhaseSwitch, Deadline: now.Add(t.Switch)}, time.Time{}
	}
	return nil, m.Deadline
}

// votes tells whether the migration may be committed; a reason means that it never can be.
func votes(m cluster.Migration, target Seen) (ok bool, reason string) {
	if m.From.Step != cluster.SourceShipped || m.To.Step != cluster.TargetHeld {
		return false, ""
	}
	if m.From.Digest == "" || m.From.Digest != m.To.Digest {
		return false, fmt.Sprintf("the votes are about different content: source %.16q, target %.16q", m.From.Digest, m.To.Digest)
	}
	// A held restore dies with its agent: the vote counts only while the target's present session repeats it.
	live := target.State == cluster.NodeOnline && target.Attempt && target.Error == "" &&
		target.Step == string(cluster.TargetHeld) && target.Digest == m.To.Digest
	return live, ""
}

// targetFault tells why the target can't go on. The source runs on, or is thawed, so an abort costs nothing.
func targetFault(m cluster.Migration, target Seen) string {
	switch {
	case m.To.Error != "":
		return fmt.Sprintf("target %s: %s", m.Target, m.To.Error)
	case m.To.Step == cluster.TargetRunning || m.To.Step == cluster.TargetDiscarded:
		return fmt.Sprintf("target %s reports %q before any verdict", m.Target, m.To.Step)
	case target.gone():
		return fmt.Sprintf("target %s is offline", m.Target)
	case booted(m.TargetBoot, target):
		return fmt.Sprintf("target %s booted", m.Target)
	}
	return ""
}

// sourceFault tells why the source can't go on.
func sourceFault(m cluster.Migration, source Seen) string {
	switch {
	case m.From.Error != "":
		return fmt.Sprintf("source %s: %s", m.Source, m.From.Error)
	case m.From.Step == cluster.SourceThawed || m.From.Step == cluster.SourceDestroyed:
		return fmt.Sprintf("source %s reports %q before any verdict", m.Source, m.From.Step)
	case source.gone():
		return fmt.Sprintf("source %s is offline", m.Source)
	case booted(m.SourceBoot, source):
		return fmt.Sprintf("source %s booted", m.Source)
	}
	return ""
}

// nextCommitted waits for the target, for as long as it takes: there is no way back (R11).
func nextCommitted(m cluster.Migration, target Seen, now time.Time, t Timeouts) (*Change, time.Time) {
	// A complete copy under the new epoch means that the release happened, even if the container has ended or was cold-started since.
	if m.To.Step == cluster.TargetRunning || target.owns(m.Epoch+1) {
		return &Change{To: cluster.PhaseDone, Deadline: now.Add(t.Finish)}, time.Time{}
	}
	if now.Before(m.Deadline) {
		return nil, m.Deadline
	}
	why := "has not reported the container running"
	if target.gone() {
		why = "is offline"
	}
	if m.To.Error != "" {
		why = m.To.Error
	}
	reason := fmt.Sprintf("committed, but target %s %s: it starts there when the node returns; the source keeps its frozen copy", m.Target, why)
	return &Change{Reason: reason, Deadline: now.Add(t.Finish), Alarm: m.Reason != reason}, time.Time{}
}

// nextDone waits for the source to take its dead copy away.
func nextDone(m cluster.Migration, source Seen, now time.Time, t Timeouts) (*Change, time.Time) {
	if m.Closed {
		return nil, time.Time{}
	}
	if m.From.Step == cluster.SourceDestroyed || source.gone() || (source.silent(m.Changed) && !source.heldUpTo(m.Epoch)) {
		return &Change{Close: true}, time.Time{}
	}
	if now.Before(m.Deadline) {
		return nil, lookAgain(m, now)
	}
	reason := fmt.Sprintf("done, but source %s has not destroyed its dead copy", m.Source)
	if m.From.Error != "" {
		reason += ": " + m.From.Error
	}
	return &Change{Reason: reason, Deadline: now.Add(t.Finish), Alarm: m.Reason != reason}, time.Time{}
}

// nextAborting waits until both sides have cleaned up; one that is offline does not hold it up.
func nextAborting(m cluster.Migration, source, target Seen, now time.Time, t Timeouts) (*Change, time.Time) {
	sourceClean := m.From.Step == cluster.SourceThawed || source.gone() || booted(m.SourceBoot, source) ||
		((source.silent(m.Changed) || source.neverBegan(m.Changed)) && !source.has(cluster.CopyFrozen))
	targetClean := m.To.Step == cluster.TargetDiscarded || target.gone() ||
		((target.silent(m.Changed) || target.neverBegan(m.Changed)) && !target.has(cluster.CopyStaged))
	if sourceClean && targetClean {
		return &Change{To: cluster.PhaseFailed, Close: true}, time.Time{}
	}
	if now.Before(m.Deadline) {
		return nil, lookAgain(m, now)
	}
	// The reason why it was aborted must stay readable; the deadline only repeats the alarm.
	return &Change{Deadline: now.Add(t.Finish), Alarm: true}, time.Time{}
}

// Apply carries out ch on both records: what goes into one transaction. It refuses what the records do not allow.
func Apply(m *cluster.Migration, c *cluster.Container, ch Change, now time.Time) error {
	if ch.To != "" {
		if err := m.Move(ch.To, ch.Reason); err != nil {
			return err
		}
	} else if ch.Reason != "" {
		m.Reason = ch.Reason
	}
	if ch.To == cluster.PhaseCommitted || ch.To == cluster.PhaseAborting {
		if c == nil || c.CTID != m.CTID || c.Migration != m.ID || c.Epoch != m.Epoch || c.Node != m.Source {
			return fmt.Errorf("migration %s: container %s is no longer as it was planned (epoch %d at %s)", m.ID, m.CTID, m.Epoch, m.Source)
		}
		c.Epoch, c.Changed = m.Epoch+1, now
		if ch.To == cluster.PhaseCommitted {
			c.Node, c.BootID = m.Target, m.TargetBoot
		}
	}
	if ch.Close {
		m.Closed = true
		if c != nil && c.Migration == m.ID {
			c.Migration, c.Changed = "", now
		}
	}
	if !ch.Deadline.IsZero() {
		m.Deadline = ch.Deadline
	}
	if ch.To != "" || ch.Close {
		m.Changed = now // only then: an alarm must not restart the wait for a silent side
	}
	return nil
}

func abort(reason string, now time.Time, t Timeouts) *Change {
	return &Change{To: cluster.PhaseAborting, Reason: reason, Deadline: now.Add(t.Finish)}
}

// booted tells whether the host has booted since the attempt was planned.
func booted(planned string, s Seen) bool {
	return planned != "" && s.BootID != "" && s.BootID != planned
}

func sourceAt(m cluster.Migration, s cluster.SourceStep) bool {
	probe := cluster.Migration{From: m.From}
	return !probe.ForwardSource(s)
}

func targetAt(m cluster.Migration, s cluster.TargetStep) bool {
	probe := cluster.Migration{To: m.To}
	return !probe.ForwardTarget(s)
}

// lookAgain is when a side may have been quiet for long enough: plain heartbeats wake nobody.
func lookAgain(m cluster.Migration, now time.Time) time.Time {
	again := m.Changed.Add(Quiet)
	if soon := now.Add(time.Second); again.Before(soon) {
		again = soon
	}
	if m.Deadline.Before(again) {
		return m.Deadline
	}
	return again
}

func orNone[S ~string](s S) string {
	if s == "" {
		return "no report"
	}
	return string(s)
}
