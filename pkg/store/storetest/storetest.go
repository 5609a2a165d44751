package storetest

import (
	"testing"
	"testing/synctest"
)

// Options of a run.
type Options struct {
	// Virtual: the back end can run in a testing/synctest bubble (no real network), so that time-outs cost nothing.
	Virtual bool
}

// Run runs the suite; newCluster makes an empty back end for each test.
func Run(t *testing.T, newCluster func(t *testing.T) Cluster, opts Options) {
	tests := []struct {
		name string
		run  func(t *testing.T, r *rig)
	}{
		{"Commit", testCommit},
		{"Conflict", testConflict},
		{"Atomic", testAtomic},
		{"Limits", testLimits},
		{"Follow", testFollow},
		{"OnlyTheLeaderWrites", testOnlyTheLeaderWrites},
		{"LeadershipIsGivenUp", testLeadershipIsGivenUp},
		{"LeaderChangeKeepsWhatWasAcknowledged", testLeaderChange},
		{"DeposedLeaderCannotWrite", testDeposed},
		{"OldLeadershipCannotWrite", testOldLeadership},
		{"Restart", testRestart},
		{"LargeState", testLargeState},
		{"AnyInterleaving", testInterleaving},
		{"ReadYourWrites", testReadYourWrites},
		{"WaitMissesNothing", testWait},
		{"Fresh", testFresh},
		{"ConcurrentIncrements", testIncrements},
		{"NoPhantoms", testPhantoms},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if !opts.Virtual {
				test.run(t, newRig(t, newCluster(t)))
				return
			}
			synctest.Test(t, func(t *testing.T) { test.run(t, newRig(t, newCluster(t))) })
		})
	}
}
