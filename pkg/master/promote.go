package master

import (
	"context"
	"log/slog"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

const (
	tendPeriod = 300 * time.Millisecond
	// maxTrail is how many log entries a master may be behind to count as caught up: under load nobody is ever at the very end.
	maxTrail = 250
	// steadyLooks is how many times in a row a master must be found caught up before it gets a vote: one that comes and goes would
	// only make the quorum larger.
	steadyLooks = 4
)

// tend is the leader's care for the members: it gives votes to masters that have caught up, and remembers how far each has come.
func (t *term) tend(ctx context.Context) error {
	if t.m.members == nil {
		return nil
	}
	steady := map[string]int{}
	for {
		if err := await(ctx, nil, time.Now().Add(tendPeriod), time.Now()); err != nil {
			return err
		}
		infos := t.m.roll(ctx, t.m.store.View())
		t.m.peaks.note(infos)
		voters, ready := count(infos, steady)
		for _, info := range promotable(voters, ready) {
			if err := t.m.members.AddVoter(ctx, info.ID, info.RaftAddr); err != nil {
				slog.Warn("no vote given yet", "master", info.ID, "err", err)
				break
			}
			slog.Info("master votes from now on", "master", info.ID)
		}
	}
}

// count counts the voters, and lists the others that have been caught up for a while.
func count(infos []cluster.MasterInfo, steady map[string]int) (voters int, ready []cluster.MasterInfo) {
	for _, info := range infos {
		switch {
		case info.Voter:
			voters++
			delete(steady, info.ID)
		case info.State == nil || info.Lag > maxTrail || info.Instance == "":
			delete(steady, info.ID)
		default:
			if steady[info.ID]++; steady[info.ID] >= steadyLooks {
				ready = append(ready, info)
			}
		}
	}
	return voters, ready
}

// promotable chooses those who get a vote: as many as leave an odd number of voters. An even number survives the loss of no more
// masters than one less would, and needs one more for each decision.
func promotable(voters int, ready []cluster.MasterInfo) []cluster.MasterInfo {
	n := min(len(ready), MaxMasters-voters)
	if n > 0 && (voters+n)%2 == 0 {
		n--
	}
	return ready[:max(n, 0)]
}
