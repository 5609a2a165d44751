package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
)

func testOnlyTheLeaderWrites(t *testing.T, r *rig) {
	lead := r.leader(0)
	rev := r.commit(lead, store.Txn{Put: put(key("a"), "1")})
	for _, n := range r.followers(lead) {
		r.reach(n, rev)
		if _, err := n.log.Commit(r.ctx(), store.Txn{Put: put(key("a"), "bad")}); !errors.Is(err, store.ErrNotLeader) {
			t.Errorf("follower %d: commit: got %v, want ErrNotLeader", n.i, err)
		}
		if _, err := n.store.Update(r.ctx(), func(tx *store.Tx) error { tx.Next("bad"); return nil }); !errors.Is(err, store.ErrNotLeader) {
			t.Errorf("follower %d: update: got %v, want ErrNotLeader", n.i, err)
		}
		if _, err := n.store.Fresh(r.ctx()); !errors.Is(err, store.ErrNotLeader) {
			t.Errorf("follower %d: fresh: got %v, want ErrNotLeader", n.i, err)
		}
		r.leaderAddr(n, lead)
	}
	r.leaderAddr(lead, lead)
}

// leaderAddr waits until n tells the address of lead.
func (r *rig) leaderAddr(n, lead *node) {
	r.t.Helper()
	ctx, want := r.ctx(), r.c.Addr(lead.i)
	for {
		addr, ok := n.store.Leader()
		if ok && addr == want {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			r.t.Fatalf("member %d: the leader is %q (%v), want %q", n.i, addr, ok, want)
		}
	}
}

// depose has the leader give up, and returns the next one.
func (r *rig) depose(lead *node) *node {
	r.t.Helper()
	term, _ := r.termOf(lead)
	lead.giveUp <- struct{}{}
	return r.leader(term)
}

func testLeadershipIsGivenUp(t *testing.T, r *rig) {
	first := r.leader(0)
	id, _ := r.reach(first, 1).Meta()
	if id.ClusterID == "" || id.Format != store.Format {
		t.Errorf("the first leader did not found the cluster: %+v", id)
	}
	next := r.depose(first)
	if next == first {
		t.Errorf("member %d gave the leadership up and leads again, though others could", first.i)
	}
	third := r.depose(next)
	if third == next {
		t.Errorf("member %d gave the leadership up and leads again, though others could", next.i)
	}
	for _, n := range append(r.followers(third), third) {
		r.leaderAddr(n, third)
	}
	if now, _ := third.store.View().Meta(); now != id {
		t.Errorf("the cluster was founded twice: %+v, then %+v", id, now)
	}
}

func testLeaderChange(t *testing.T, r *rig) {
	const writers, stages = 3, 4
	var mu sync.Mutex
	acked := make(map[string]bool)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	finish := sync.OnceFunc(func() { close(stop); wg.Wait() })
	defer finish()
	for w := range writers {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				name := fmt.Sprintf("w%d-%d", w, i)
				// A member that is cut off between its commit and its mirror makes the writer wait for all of its time.
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				_, err := r.leader(0).store.Update(ctx, func(tx *store.Tx) error {
					tx.Templates().Put(cluster.Template{Name: name})
					return nil
				})
				cancel()
				if err == nil {
					mu.Lock()
					acked[name] = true
					mu.Unlock()
				}
			}
		})
	}
	// Each stage begins when something was written in the one before.
	grown := func() {
		mu.Lock()
		least := len(acked) + 3*writers
		mu.Unlock()
		for ctx := r.ctx(); ; {
			mu.Lock()
			n := len(acked)
			mu.Unlock()
			if n >= least {
				return
			}
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
				t.Fatalf("nothing is written any more: %d of %d", n, least)
			}
		}
	}
	for stage := range stages {
		grown()
		lead := r.leader(0)
		term, _ := r.termOf(lead)
		switch stage {
		case 0:
			r.depose(lead)
		case 1:
			r.c.Cut(lead.i)
			r.leader(term)
			grown()
			r.c.Heal(lead.i)
		case 2:
			r.stop(lead.i)
			r.leader(term)
			grown()
			r.start(lead.i)
		case 3:
			r.stop(lead.i)
			r.start(lead.i)
		}
	}
	grown()
	finish()
	st := r.update(func(tx *store.Tx) error { tx.Next("end"); return nil })
	for _, n := range r.followers(nil) {
		got := r.reach(n, st.Rev())
		for name := range acked {
			if _, ok := got.Templates().Get(name); !ok {
				t.Errorf("member %d lost %s, which was acknowledged", n.i, name)
			}
		}
	}
}

func testDeposed(t *testing.T, r *rig) {
	old := r.leader(0)
	term, lead := r.termOf(old)
	rev := r.commit(old, store.Txn{Put: put(key("a"), "1")})
	r.c.Cut(old.i)
	// It may take itself for the leader for a while yet, but nobody confirms it.
	if st, err := old.store.Fresh(r.ctx()); err == nil {
		t.Errorf("a leader that is cut off answered a fresh read at %d", st.Rev())
	}
	next := r.leader(term)
	if next == old {
		t.Fatal("a member that is cut off leads")
	}
	select {
	case <-lead.Done():
	case <-r.ctx().Done():
		t.Fatal("the context of the old leadership lives on")
	}
	if _, err := old.log.Commit(r.ctx(), store.Txn{Put: put(key("a"), "bad")}); !errors.Is(err, store.ErrNotLeader) && !errors.Is(err, store.ErrUnknown) {
		t.Errorf("commit of the deposed leader: got %v, want ErrNotLeader or ErrUnknown", err)
	}
	if _, err := old.store.Fresh(r.ctx()); !errors.Is(err, store.ErrNotLeader) {
		t.Errorf("fresh read of the deposed leader: got %v, want ErrNotLeader", err)
	}
	last := r.commit(next, store.Txn{If: map[string]store.Rev{key("a"): rev}, Put: put(key("a"), "2")})
	r.c.Heal(old.i)
	if got := r.content(old, last); string(got[key("a")].Value) != "2" {
		t.Errorf("the deposed leader has a=%q after the cut, want 2", got[key("a")].Value)
	}
}

func testOldLeadership(t *testing.T, r *rig) {
	old := r.leader(0)
	term, lead := r.termOf(old)
	// Move the leadership until the same member has it again; the context of its first one is still in somebody's hand.
	now := r.depose(old)
	for ctx := r.ctx(); now != old; now = r.depose(now) {
		if ctx.Err() != nil {
			t.Skip("the back end never elected the same member again")
		}
	}
	if again, _ := r.termOf(old); again <= term {
		t.Fatalf("term %d after %d", again, term)
	}
	// Whoever holds on to it may not have noticed that it is over.
	if _, err := old.log.Commit(context.WithoutCancel(lead), store.Txn{Put: put(key("a"), "bad")}); err == nil {
		t.Error("a write of an old leadership was let through")
	}
	r.commit(old, store.Txn{If: map[string]store.Rev{key("a"): 0}, Put: put(key("a"), "1")})
}

func testRestart(t *testing.T, r *rig) {
	st := r.update(func(tx *store.Tx) error {
		tx.Containers().Put(cluster.Container{CTID: "101", Name: "web"})
		tx.Next("x")
		return nil
	})
	want := st.Containers().Rev("101")
	for round := range 2 {
		for i := range r.c.Members() {
			r.stop(i)
		}
		for i := range r.c.Members() {
			r.start(i)
		}
		st = r.update(func(tx *store.Tx) error { tx.Next("x"); return nil })
		for _, n := range r.followers(nil) {
			got := r.reach(n, st.Rev())
			c, ok := got.FindContainer("web")
			x, _ := got.Counters().Get("x")
			if !ok || c.CTID != "101" || got.Containers().Rev("101") != want || x.Value < uint64(round)+2 {
				t.Errorf("round %d: member %d holds %+v at %d (want %d), x=%d", round, n.i, c, got.Containers().Rev("101"), want, x.Value)
			}
		}
	}
}

func testLargeState(t *testing.T, r *rig) {
	const records, perTxn = 5000, 100
	lead := r.leader(0)
	away := r.followers(lead)[0].i
	r.stop(away)
	var st *store.State
	for from := 0; from < records; from += perTxn {
		st = r.update(func(tx *store.Tx) error {
			for i := from; i < from+perTxn; i++ {
				tx.Operations().Put(cluster.Operation{Key: fmt.Sprintf("op%05d", i), Hash: strings.Repeat("x", 1000)})
			}
			return nil
		})
	}
	got := r.reach(r.start(away), st.Rev())
	if got.Operations().Len() != records {
		t.Fatalf("member %d has %d records, want %d", away, got.Operations().Len(), records)
	}
	i := 0
	for op, rev := range got.Operations().All() {
		if want := fmt.Sprintf("op%05d", i); op.Key != want || len(op.Hash) != 1000 || rev != st.Operations().Rev(want) {
			t.Fatalf("record %d is %q at %d, want %q at %d", i, op.Key, rev, want, st.Operations().Rev(want))
		}
		i++
	}
}
