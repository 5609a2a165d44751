package master

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

const (
	// comparePeriod is how often each master compares its state with that of the others.
	comparePeriod = 5 * time.Second
	// shownSums is how many sums a master shows: enough that one that is a little ahead or behind finds one that it has, too.
	shownSums = 64
)

// summed is a log that keeps a sum of the state; the embedded one does. Its members compute the state each for itself, so one may
// compute it wrongly (a flipped bit, a bug) and nobody would notice, not even when it leads.
type summed interface {
	// Sums returns the sums after the last n entries, newest first.
	Sums(n int) []cluster.Sum
	// SumAt returns the sum after one entry, if it is still known.
	SumAt(index uint64) (uint64, bool)
	// Quarantine ends this member and keeps it from starting again.
	Quarantine(why string)
}

// verdict is what a comparison of the states has found.
type verdict struct {
	index     uint64   // of the entry after which they differ; 0: no difference
	differ    []string // the others whose state differs from this master's
	with      int      // masters with this one's state, this one counted
	against   int      // masters that agree on another state
	condemned bool     // a majority of the masters agrees on another state
}

// compare judges this master's state by what the others show. sumAt is this master's own memory, members how many masters there are.
// Masters that don't answer, or are at another place in the log, say nothing.
func compare(self string, sumAt func(uint64) (uint64, bool), infos []cluster.MasterInfo, members int) verdict {
	v := verdict{with: 1}
	other := make(map[cluster.Sum]int)
	for _, info := range infos {
		if info.ID == self || info.State == nil {
			continue
		}
		same, at, found := agree(sumAt, info.State.Sums)
		switch {
		case !found:
		case same:
			v.with++
		default:
			v.differ = append(v.differ, info.ID)
			v.index = max(v.index, at)
			// Two masters that are both wrong are so in different ways: only those that show the same count together.
			for _, s := range info.State.Sums {
				if mine, known := sumAt(s.Index); known && mine != s.Sum {
					other[s]++
				}
			}
		}
	}
	for _, n := range other {
		v.against = max(v.against, n)
	}
	v.condemned = v.against > members/2
	slices.Sort(v.differ)
	return v
}

// agree compares the newest sum that both know.
func agree(sumAt func(uint64) (uint64, bool), shown []cluster.Sum) (same bool, index uint64, found bool) {
	for _, s := range shown {
		if mine, ok := sumAt(s.Index); ok {
			return mine == s.Sum, s.Index, true
		}
	}
	return false, 0, false
}

// watchState compares this master's state with that of the others until ctx ends. A master that a majority contradicts goes into
// quarantine: it neither serves nor leads. If nobody can tell who is right, there is an alarm.
func (m *Master) watchState(ctx context.Context) error {
	log, ok := m.log.(summed)
	if !ok {
		return nil
	}
	tick := time.NewTicker(comparePeriod)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		var masters []cluster.Master
		for rec := range m.store.View().Masters().All() {
			masters = append(masters, rec)
		}
		v := compare(m.cfg.ID, log.SumAt, m.survey(ctx, masters), len(masters))
		if v.condemned {
			log.Quarantine(fmt.Sprintf("after entry %d its state differs from that of %s, and %d of %d masters agree on theirs",
				v.index, strings.Join(v.differ, " and "), v.against, len(masters)))
			return nil
		}
		m.diverged.set(v)
	}
}

// divergence is the alarm of [Master.watchState].
type divergence struct {
	mu   sync.Mutex
	text string
}

func (d *divergence) set(v verdict) {
	text := ""
	if len(v.differ) > 0 {
		text = fmt.Sprintf("the state of %s differs from this master's after entry %d; %d masters have this one's", strings.Join(v.differ, " and "), v.index, v.with)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if text != "" && text != d.text {
		slog.Error("alarm", "what", text)
	}
	d.text = text
}

// alarms says what an operator should look at, as this master sees it.
func (m *Master) alarms() []string {
	var out []string
	if log, ok := m.log.(interface{ Alarms() []string }); ok {
		out = log.Alarms()
	}
	m.diverged.mu.Lock()
	defer m.diverged.mu.Unlock()
	if m.diverged.text != "" {
		out = append(out, m.diverged.text)
	}
	return out
}

// sums are what this master shows to the others.
func (m *Master) sums() []cluster.Sum {
	if log, ok := m.log.(summed); ok {
		return log.Sums(shownSums)
	}
	return nil
}
