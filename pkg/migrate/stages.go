package migrate

import (
	"slices"
	"sync"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// The timed stages. Those from freeze to release are what the container's clients wait for.
const (
	StagePrepare = "prepare"      // both
	StageCopy    = "copy"         // source: all running rounds
	StageArm     = "arm"          // both: everything that can be started before the freeze
	StageFreeze  = "freeze"       // source
	StageDump    = "dump"         // source, beside final-rootfs
	StageFinal   = "final-rootfs" // source, beside dump
	StageShip    = "ship"         // source: images and manifest
	StageVerify  = "verify"       // target: digests compared
	StageRestore = "restore"      // target
	StageSync    = "sync"         // target, beside restore: the last round is durable
	StageCommit  = "commit"       // target: from its vote until it read the verdict and holds a valid lease
	StageRelease = "release"      // target: journal, network, tasks run, address announced
	StageThaw    = "thaw"         // source, after an abort
	StageDestroy = "destroy"      // source, after Done
)

// stopwatch records stages. Wall clock for the start, so that the two sides' stages can be laid beside each other.
type stopwatch struct {
	mu   sync.Mutex
	list []cluster.StageTime
}

// begin starts a stage; the returned function ends it.
func (w *stopwatch) begin(stage string) (end func()) {
	start := time.Now()
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.list = append(w.list, cluster.StageTime{Stage: stage, Start: start, Duration: time.Since(start)})
	}
}

func (w *stopwatch) times() []cluster.StageTime {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.list)
}
