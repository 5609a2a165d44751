package master

import (
	"context"
	"sync"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// live is what only the leader's memory knows: who has reported what, and when. It belongs to one term.
type live struct {
	since time.Time     // when the term began: nobody is silent before a full lease has gone by
	gap   time.Duration // a report after a pause as long as this is news, whatever it says

	mu      sync.Mutex
	nodes   map[string]*liveNode
	changed chan struct{} // closed and replaced when loops and sessions have to look again
}

// liveNode is one node's entry. last outlives the session: until the lease is over it is the best that we know.
type liveNode struct {
	last    *report
	session *session // nil: no stream
}

// sight is a snapshot of live: what plans work on.
type sight struct {
	since time.Time
	nodes map[string]*report
}

func newLive(since time.Time, gap time.Duration) *live {
	return &live{since: since, gap: gap, nodes: map[string]*liveNode{}, changed: make(chan struct{})}
}

// sight returns the present snapshot, and a channel that is closed when there is a newer one.
func (l *live) sight() (sight, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := sight{since: l.since, nodes: make(map[string]*report, len(l.nodes))}
	for name, n := range l.nodes {
		s.nodes[name] = n.last
	}
	return s, l.changed
}

// bump makes everybody look again.
func (l *live) bump() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bumpLocked()
}

func (l *live) bumpLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// put stores a report of session s, and tells whether s is still the node's session.
func (l *live) put(s *session, r *report) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.nodes[s.node]
	if n == nil || n.session != s {
		return false
	}
	news := n.last == nil || n.last.essence != r.essence || r.At.Sub(n.last.At) >= l.gap
	n.last = r
	if news {
		l.bumpLocked()
	}
	return true
}

// usageOf returns what the owner last reported of a container's use, nil if nothing.
func (s sight) usageOf(c cluster.Container) *cluster.Usage {
	if r := s.nodes[c.Node]; r != nil {
		if cp, ok := r.find(c.CTID); ok {
			return &cp.Usage
		}
	}
	return nil
}

// liveOf is a node's entry as operators see it.
func (s sight) liveOf(node string, now time.Time, lease time.Duration) *cluster.NodeLive {
	r := s.nodes[node]
	if r == nil {
		return nil
	}
	u, running := r.nodeUsage()
	n := &cluster.NodeLive{LastReport: r.At, LeaseLeft: max(0, r.At.Add(lease).Sub(now)), Usage: u, Running: running}
	for _, c := range r.Copies {
		n.Copies = append(n.Copies, c.CopyInfo)
	}
	return n
}

// await returns the next sight after ch closed, when wake comes (zero: never), or nothing when ctx ends.
func await(ctx context.Context, ch <-chan struct{}, wake, now time.Time) error {
	var timer <-chan time.Time
	if !wake.IsZero() {
		t := time.NewTimer(max(wake.Sub(now), time.Millisecond))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ch:
	case <-timer:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
