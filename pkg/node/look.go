package node

import (
	"context"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// look looks at the host each period, and when the runtime says that something ended.
func (a *Agent) look(ctx context.Context) error {
	var exits <-chan string
	if r, ok := a.cfg.Runtime.(interface{ Exits() <-chan string }); ok {
		exits = r.Exits()
	}
	t := time.NewTicker(DefaultPeriod)
	defer t.Stop()
	for {
		ended := false
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		case <-exits:
			ended = true
		}
		if a.refresh(ctx) || ended {
			a.wake()
		}
		a.reconcile()
	}
}

// refresh looks at every copy on the host and tells whether one has another state than before. While a worker or a migration has a
// container, what is in between is not shown: half a release, reported, would count as a whole one.
func (a *Agent) refresh(ctx context.Context) (changed bool) {
	a.refreshing.Lock()
	defer a.refreshing.Unlock()
	a.mu.Lock()
	masked := a.inHands()
	a.mu.Unlock()
	found, err := a.cfg.Runtime.Copies(ctx)
	if err != nil {
		if ctx.Err() == nil {
			a.log.Error("look at copies", "err", err)
		}
		return false
	}
	next := make(map[string][]seenCopy)
	for _, c := range found {
		s := seenCopy{Copy: c}
		if c.State == cluster.CopyRunning {
			if u, err := a.cfg.Runtime.Usage(ctx, c.CTID); err == nil {
				s.usage = usagePB(u)
			}
		}
		next[c.CTID] = append(next[c.CTID], s)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for ctid := range a.inHands() {
		masked[ctid] = true
	}
	for ctid := range masked {
		next[ctid] = a.maskedCopies(ctid, next[ctid])
		if len(next[ctid]) == 0 {
			delete(next, ctid)
		}
	}
	changed = differ(a.copies, next)
	a.copies = next
	return changed
}

// inHands lists the containers that a worker or a migration has.
func (a *Agent) inHands() map[string]bool {
	out := make(map[string]bool)
	for ctid := range a.busy {
		out[ctid] = true
	}
	for _, m := range a.migrations {
		if m.active() {
			out[m.begin.Attempt.Container.CTID] = true
		}
	}
	return out
}

// maskedCopies is what is shown of a container in somebody's hands: a source's copy as it is found, a target's as staged, and anything else
// as it was before.
func (a *Agent) maskedCopies(ctid string, found []seenCopy) []seenCopy {
	for _, m := range a.migrations {
		if !m.active() || m.begin.Attempt.Container.CTID != ctid {
			continue
		}
		if m.begin.Role == migrate.RoleSource {
			return found
		}
		var out []seenCopy
		for _, c := range found {
			if c.State == cluster.CopyStaged || c.State == cluster.CopyRetired {
				out = append(out, c)
			}
		}
		if len(out) == 0 && len(found) > 0 {
			out = append(out, seenCopy{Copy: Copy{CTID: ctid, Epoch: m.begin.Attempt.Epoch, State: cluster.CopyStaged}})
		}
		return out
	}
	if before, ok := a.copies[ctid]; ok {
		return before
	}
	return found
}

func differ(a, b map[string][]seenCopy) bool {
	if len(a) != len(b) {
		return true
	}
	for ctid, list := range a {
		if len(list) != len(b[ctid]) {
			return true
		}
		for i := range list {
			if list[i].Copy != b[ctid][i].Copy {
				return true
			}
		}
	}
	return false
}

func usagePB(u cluster.Usage) *vzpb.Usage {
	return &vzpb.Usage{CpuNs: u.CPUNanos, MemoryBytes: u.MemoryBytes, DiskBytes: u.DiskBytes, Pids: u.Pids, NetRxBytes: u.NetRxBytes, NetTxBytes: u.NetTxBytes}
}
