package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/vzcluster/vzcluster/pkg/store"
)

// attempt is one transaction of testInterleaving and what came of it.
type attempt struct {
	txn store.Txn
	rev store.Rev
	err error
}

// testInterleaving: some proposers at the same time, each with its own sequence of transactions on few keys. Whatever the order was,
// replaying those that succeeded in the order of their revisions must find every precondition true, and must end in the state that all
// members hold; and a single proposer must be told ErrConflict exactly when the reference says so.
func testInterleaving(t *testing.T, r *rig) {
	lead := r.leader(0)
	var round int
	// Not t itself: rapid would ask it for its deadline, which a bubble does not have.
	rapid.Check(struct{ rapid.TB }{t}, func(rt *rapid.T) {
		round++
		prefix := key("r%d/", round)
		keys := []string{prefix + "a", prefix + "b", prefix + "c"}
		proposers := rapid.IntRange(1, 3).Draw(rt, "proposers")
		plans := make([][]map[string]int, proposers)
		for p := range plans {
			// Per key: 0 leave, 1 put, 2 delete; +10 with the precondition that it is as last seen, +20 that it is absent.
			plans[p] = rapid.SliceOfN(rapid.MapOfN(rapid.SampledFrom(keys), rapid.SampledFrom([]int{1, 2, 10, 11, 12, 20, 21}), 1, 3), 1, 5).Draw(rt, "plan")
		}
		var mu sync.Mutex
		var all []attempt
		var wg sync.WaitGroup
		for p, plan := range plans {
			wg.Go(func() {
				known := make(map[string]store.Rev) // as this proposer believes
				for i, step := range plan {
					a := attempt{txn: transaction(step, known, fmt.Sprintf("%d.%d", p, i))}
					if a.txn.Check() != nil {
						continue
					}
					a.rev, a.err = lead.log.Commit(r.ctx(), a.txn)
					if a.err == nil {
						for key := range a.txn.Put {
							known[key] = a.rev
						}
						for _, key := range a.txn.Del {
							delete(known, key)
						}
					}
					mu.Lock()
					all = append(all, a)
					mu.Unlock()
				}
			})
		}
		wg.Wait()

		model := make(map[string]store.KV)
		if proposers > 1 {
			slices.SortStableFunc(all, func(a, b attempt) int { return int(a.rev) - int(b.rev) })
		}
		for _, a := range all {
			holds := true
			for key, rev := range a.txn.If {
				holds = holds && model[key].Rev == rev
			}
			switch {
			case a.err != nil && !errors.Is(a.err, store.ErrConflict):
				rt.Fatalf("%+v: %v", a.txn, a.err)
			case a.err == nil && !holds:
				rt.Fatalf("%+v was committed at %d, on %v", a.txn, a.rev, model)
			case a.err != nil && holds && proposers == 1:
				rt.Fatalf("%+v was refused, on %v", a.txn, model)
			case a.err == nil:
				applyTo(model, a.batch())
			}
		}
		last := r.commit(lead, store.Txn{Put: put(prefix+"end", "")})
		for _, n := range append(r.followers(lead), lead) {
			got := r.content(n, last)
			maps.DeleteFunc(got, func(key string, _ store.KV) bool { return !strings.HasPrefix(key, prefix) || key == prefix+"end" })
			if !equal(got, model) {
				rt.Fatalf("member %d holds %v, want %v", n.i, got, model)
			}
		}
	})
}

func (a attempt) batch() store.Batch {
	b := store.Batch{Rev: a.rev, Put: make(map[string]store.KV), Del: a.txn.Del}
	for key, value := range a.txn.Put {
		b.Put[key] = store.KV{Value: value, Rev: a.rev}
	}
	return b
}

func transaction(step map[string]int, known map[string]store.Rev, value string) store.Txn {
	t := store.Txn{If: make(map[string]store.Rev), Put: make(map[string][]byte)}
	for key, what := range step {
		switch what / 10 {
		case 1:
			t.If[key] = known[key]
		case 2:
			t.If[key] = 0
		}
		switch what % 10 {
		case 1:
			t.Put[key] = []byte(value)
		case 2:
			t.Del = append(t.Del, key)
		}
	}
	return t
}
