package memlog

import (
	"context"
	"fmt"
	"sync"

	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/pkg/store/internal/kv"
)

// Fault is what happens to one commit.
type Fault int

// The faults.
const (
	None        Fault = iota
	Conflict          // refused with ErrConflict, though nothing is wrong with it
	NotLeader         // refused with ErrNotLeader
	UnknownLost       // ErrUnknown, and it never happens
	UnknownDone       // ErrUnknown, and it has happened
)

// Hook decides the fate of a commit before it is looked at. It may sleep, which makes the commit slow. The index is the member's.
type Hook func(member int, t store.Txn) Fault

// Cluster is one log and its members.
type Cluster struct {
	machine *kv.Machine

	mu      sync.Mutex
	members []*Member
	leader  *Member // nil: nobody
	wanted  *Member // leads whenever it can; see Elect
	halted  bool    // no elections; see Halt
	term    uint64
	rev     store.Rev
	hook    Hook
	changed chan struct{} // closed and replaced when the leader or a cut changes
}

// Member is one member's log.
type Member struct {
	c         *Cluster
	index     int
	addr      string
	candidate bool
	cut       bool
	faults    []Fault
}

// New returns an empty log with n members, whose API addresses are m1, m2, and so on. Nobody leads before somebody calls Lead.
func New(n int) *Cluster {
	c := &Cluster{machine: kv.New(), changed: make(chan struct{})}
	for i := range n {
		c.members = append(c.members, &Member{c: c, index: i, addr: fmt.Sprintf("m%d", i+1)})
	}
	return c
}

// Members returns how many members there are.
func (c *Cluster) Members() int { return len(c.members) }

// Member returns member i, from 0.
func (c *Cluster) Member(i int) *Member { return c.members[i] }

// SetAddr sets the API address that Leader tells when member i leads.
func (c *Cluster) SetAddr(i int, addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members[i].addr = addr
}

// Elect deposes the present leader and makes member i the next one: at once if it is in Lead and not cut, else as soon as that is so.
// Until the next Elect or Halt it is preferred over all others.
func (c *Cluster) Elect(i int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.halted, c.wanted = false, c.members[i]
	if c.leader != c.wanted {
		c.depose()
	}
	c.elect()
}

// Halt deposes the leader, and nobody leads until the next Elect.
func (c *Cluster) Halt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.halted, c.wanted = true, nil
	c.depose()
}

// Cut separates member i from the others: it loses the leadership, can't write, and sees nothing new. With a majority cut off nobody leads.
func (c *Cluster) Cut(i int) { c.setCut(i, true) }

// Heal ends Cut.
func (c *Cluster) Heal(i int) { c.setCut(i, false) }

func (c *Cluster) setCut(i int, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members[i].cut = cut
	if c.leader != nil && !c.eligible(c.leader) {
		c.depose()
	}
	c.elect()
	c.wake()
}

// Inject queues the fates of the next commits of member i.
func (c *Cluster) Inject(i int, faults ...Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members[i].faults = append(c.members[i].faults, faults...)
}

// SetHook sets what decides about commits for which nothing was injected; nil: nothing.
func (c *Cluster) SetHook(h Hook) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hook = h
}

// Leader tells which member leads, -1 if nobody does.
func (c *Cluster) Leader() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leader == nil {
		return -1
	}
	return c.leader.index
}

func (c *Cluster) depose() {
	if c.leader != nil {
		c.leader = nil
		c.wake()
	}
}

// elect fills an empty throne with the wanted member, or else with the first eligible one.
func (c *Cluster) elect() {
	if c.leader != nil || c.halted {
		return
	}
	next := c.wanted
	if next == nil || !c.eligible(next) {
		next = nil
		for _, m := range c.members {
			if c.eligible(m) {
				next = m
				break
			}
		}
	}
	if next != nil {
		c.leader = next
		c.term++
		c.wake()
	}
}

func (c *Cluster) eligible(m *Member) bool {
	reachable := 0
	for _, o := range c.members {
		if !o.cut {
			reachable++
		}
	}
	return m.candidate && !m.cut && reachable > len(c.members)/2
}

func (c *Cluster) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// Run waits for ctx: it is there because other logs have one.
func (m *Member) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Addr is the API address that Leader tells while m leads.
func (m *Member) Addr() string {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return m.addr
}
