package storetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/pkg/store"
)

// patience bounds every wait of the suite; reaching it is a failure.
const patience = 60 * time.Second

// Member is one member of a back end: a log, and what keeps it alive.
type Member interface {
	store.Log
	// Run runs until ctx ends. All other methods are called while it runs.
	Run(ctx context.Context) error
}

// Cluster is a back end under test: members that agree on one log, empty at first.
type Cluster interface {
	// Members is how many there are, at least 3.
	Members() int
	// Open returns member i with what it had stored when it ran last. It does not run yet, and runs once.
	Open(t *testing.T, i int) Member
	// Ready waits, after all members were opened for the first time, until each of them counts.
	Ready(ctx context.Context) error
	// Addr is what Leader tells when member i leads.
	Addr(i int) string
	// Cut separates member i from the others, Heal ends that.
	Cut(i int)
	Heal(i int)
}

var errGaveUp = errors.New("the test wants another leader")

// node is one incarnation of a member with a store on top.
type node struct {
	i      int
	log    Member
	store  *store.Store
	stop   context.CancelFunc
	done   sync.WaitGroup
	giveUp chan struct{}

	// Of the rig, under its lock: the leadership that the node is in.
	lead context.Context
	term uint64
}

// rig runs all members of a cluster.
type rig struct {
	t *testing.T
	c Cluster

	mu      sync.Mutex
	nodes   []*node // nil: stopped
	changed chan struct{}
	terms   map[uint64]int // which member led in a term: never two
}

func newRig(t *testing.T, c Cluster) *rig {
	r := &rig{t: t, c: c, nodes: make([]*node, c.Members()), changed: make(chan struct{}), terms: make(map[uint64]int)}
	t.Cleanup(func() {
		for i := range r.nodes {
			r.stop(i)
		}
	})
	for i := range r.nodes {
		r.start(i)
	}
	if err := c.Ready(r.ctx()); err != nil {
		t.Fatalf("the members do not come together: %v", err)
	}
	return r
}

func (r *rig) start(i int) *node {
	r.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	n := &node{i: i, log: r.c.Open(r.t, i), stop: stop, giveUp: make(chan struct{}, 1)}
	n.store = store.New(n.log)
	for name, run := range map[string]func(context.Context) error{
		"log":   n.log.Run,
		"store": n.store.Run,
		"lead": func(ctx context.Context) error {
			return n.store.Lead(ctx, func(ctx context.Context, term uint64) error { return r.reign(ctx, n, term) })
		},
	} {
		n.done.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				r.t.Errorf("member %d: %s ended: %v", i, name, err)
			}
		})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nodes[i] = n
	r.wake()
	return n
}

func (r *rig) stop(i int) {
	r.mu.Lock()
	n := r.nodes[i]
	r.nodes[i] = nil
	r.mu.Unlock()
	if n != nil {
		n.stop()
		n.done.Wait()
	}
}

// reign is what a leader does here: be known as such.
func (r *rig) reign(ctx context.Context, n *node, term uint64) error {
	r.mu.Lock()
	if who, ok := r.terms[term]; ok && who != n.i {
		r.t.Errorf("members %d and %d both lead in term %d", who, n.i, term)
	}
	if n.lead != nil {
		r.t.Errorf("member %d: run is called again before it has returned", n.i)
	}
	r.terms[term] = n.i
	n.lead, n.term = ctx, term
	r.wake()
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		n.lead = nil
		r.wake()
	}()
	select {
	case <-ctx.Done():
		return nil
	case <-n.giveUp:
		return errGaveUp
	}
}

func (r *rig) wake() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// leader waits for a leader of a term after the given one; of two that take themselves for it, the newer.
func (r *rig) leader(after uint64) *node {
	r.t.Helper()
	ctx := r.ctx()
	for {
		r.mu.Lock()
		var best *node
		for _, n := range r.nodes {
			if n != nil && n.lead != nil && n.term > after && (best == nil || n.term > best.term) {
				best = n
			}
		}
		changed := r.changed
		r.mu.Unlock()
		if best != nil {
			return best
		}
		select {
		case <-changed:
		case <-ctx.Done():
			r.t.Fatalf("no leader after term %d", after)
		}
	}
}

// termOf tells in which term n led last, and under which context it leads now (nil: it doesn't).
func (r *rig) termOf(n *node) (uint64, context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return n.term, n.lead
}

// followers are the running members but n.
func (r *rig) followers(n *node) []*node {
	r.mu.Lock()
	defer r.mu.Unlock()
	var others []*node
	for _, o := range r.nodes {
		if o != nil && o != n {
			others = append(others, o)
		}
	}
	return others
}

func (r *rig) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	r.t.Cleanup(cancel)
	return ctx
}

// reach waits until n's mirror holds rev.
func (r *rig) reach(n *node, rev store.Rev) *store.State {
	r.t.Helper()
	if rev == 0 {
		return n.store.View()
	}
	st, err := n.store.Wait(r.ctx(), rev-1)
	if err != nil {
		r.t.Fatalf("member %d does not reach revision %d: %v", n.i, rev, err)
	}
	return st
}

// update writes through the present leader, whoever that is, until it is acknowledged. f must stand to be carried out twice.
func (r *rig) update(f func(*store.Tx) error) *store.State {
	r.t.Helper()
	ctx := r.ctx()
	for {
		st, err := r.leader(0).store.Update(ctx, f)
		switch {
		case err == nil:
			return st
		case errors.Is(err, store.ErrNotLeader), errors.Is(err, store.ErrUnknown):
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
				r.t.Fatalf("update: %v", err)
			}
		default:
			r.t.Fatalf("update: %v", err)
		}
	}
}
