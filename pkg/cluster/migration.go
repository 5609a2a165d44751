package cluster

import "time"

// Phase is where a migration stands. Only the leader writes it, through [Migration.Move].
type Phase string

// The phases of a migration; see the package comment for the edges.
const (
	PhasePending   Phase = "pending"
	PhasePrepare   Phase = "prepare"
	PhaseCopy      Phase = "copy"
	PhaseSwitch    Phase = "switch"
	PhaseCommitted Phase = "committed"
	PhaseDone      Phase = "done"
	PhaseAborting  Phase = "aborting"
	PhaseFailed    Phase = "failed"
)

var phaseEdges = map[Phase][]Phase{
	PhasePending:   {PhasePrepare, PhaseAborting},
	PhasePrepare:   {PhaseCopy, PhaseAborting},
	PhaseCopy:      {PhaseSwitch, PhaseAborting},
	PhaseSwitch:    {PhaseCommitted, PhaseAborting},
	PhaseCommitted: {PhaseDone},
	PhaseAborting:  {PhaseFailed},
}

// Decided tells whether the owner is settled for ever: no other outcome is possible.
func (p Phase) Decided() bool {
	return p == PhaseCommitted || p == PhaseDone || p == PhaseAborting || p == PhaseFailed
}

// SourceStep is what the source agent reports of its part. Steps only go forward, as ordered here.
type SourceStep string

// The steps of a source.
const (
	SourceNone      SourceStep = ""
	SourcePrepared  SourceStep = "prepared"  // it can be dumped, and the versions fit
	SourceCopied    SourceStep = "copied"    // the stop rule is content with the rounds so far
	SourceShipped   SourceStep = "shipped"   // VOTE: frozen and fenced, everything is on the target. May no longer decide alone
	SourceThawed    SourceStep = "thawed"    // after the verdict abort: it runs on
	SourceDestroyed SourceStep = "destroyed" // after Done: the copy is gone
)

// TargetStep is what the target agent reports of its part.
type TargetStep string

// The steps of a target.
const (
	TargetNone      TargetStep = ""
	TargetPrepared  TargetStep = "prepared"  // room is reserved, the attempt is journalled
	TargetHeld      TargetStep = "held"      // VOTE: restored and held before its first instruction
	TargetRunning   TargetStep = "running"   // after the verdict commit: released
	TargetDiscarded TargetStep = "discarded" // after the verdict abort: nothing is left
)

var sourceOrder = []SourceStep{SourceNone, SourcePrepared, SourceCopied, SourceShipped, SourceThawed, SourceDestroyed}
var targetOrder = []TargetStep{TargetNone, TargetPrepared, TargetHeld, TargetRunning, TargetDiscarded}

// Side is one agent's part of a migration's record; the leader copies it from that agent's reports and nobody else's.
type Side[S ~string] struct {
	Step   S           `json:"step"`
	Digest string      `json:"digest,omitempty"` // of the manifest, with the vote
	Error  string      `json:"error,omitempty"`
	Stages []StageTime `json:"stages,omitempty"`
}

// StageTime is one timed stage, by the wall clock of the side that reports it.
type StageTime struct {
	Stage    string        `json:"stage"`
	Start    time.Time     `json:"start"`
	Duration time.Duration `json:"duration"`
}

// MigrationStats are the figures of one migration.
type MigrationStats struct {
	RootfsBytes uint64        `json:"rootfs_bytes"`
	RootfsFiles uint64        `json:"rootfs_files"`
	FinalBytes  uint64        `json:"final_bytes"` // rootfs bytes of the last round, under freeze
	ImageBytes  uint64        `json:"image_bytes"` // CRIU's images, memory included
	Rounds      int           `json:"rounds"`
	Frozen      time.Duration `json:"frozen"` // from freeze at the source to release at the target, by the wall clock
}

// Migration is the record of one attempt to move a container. Its ID is the attempt's name everywhere.
type Migration struct {
	ID       string    `json:"id"` // decimal digits
	CTID     string    `json:"ctid"`
	Source   string    `json:"source"`
	Target   string    `json:"target"`
	Epoch    Epoch     `json:"epoch"` // of the container when the attempt was planned
	Mode     string    `json:"mode"`
	BWLimit  uint64    `json:"bwlimit,omitempty"` // bytes per second
	Phase    Phase     `json:"phase"`
	Reason   string    `json:"reason,omitempty"` // why it was aborted
	Deadline time.Time `json:"deadline"`         // of the phase; past it the leader aborts, or after the commit raises an alarm
	// Reserved is what the target must keep free for it; counted by the scheduler on both sides while the migration is open.
	Reserved Resources `json:"reserved"`
	// SourceBoot and TargetBoot are the boots of the two hosts in which the attempt was planned: another boot means that what
	// that side had in memory is lost.
	SourceBoot string           `json:"source_boot,omitempty"`
	TargetBoot string           `json:"target_boot,omitempty"`
	From       Side[SourceStep] `json:"from"`
	To         Side[TargetStep] `json:"to"`
	Stats      MigrationStats   `json:"stats"`
	// Closed: both sides have cleaned up (or one is offline and will when it returns); the container's lock is off.
	Closed  bool      `json:"closed"`
	Created time.Time `json:"created"`
	Changed time.Time `json:"changed"`
}

// The modes of a migration.
const (
	ModeAuto     = "auto"
	ModeStopCopy = "stopcopy"
)
