package master

import (
	"cmp"
	"slices"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
)

// What is kept, for how long.
const (
	keepMigrations = 1000           // closed ones
	keepOperations = 24 * time.Hour // an operation key may be asked for so long
	keepGone       = 10000          // tombstones: the newest
	garbageBatch   = 50             // records in one transaction
	garbagePeriod  = 10 * time.Minute
	// keepUnclean is how long a closed migration is kept at least if a side has not been seen to clean up: the answer to an agent
	// that comes back with a frozen copy must still be there.
	keepUnclean = 90 * 24 * time.Hour
)

// garbage is the plan that removes records that nobody needs any more.
func (t *term) garbage(st *store.State, seen sight, now time.Time) (steps []step, wake time.Time) {
	var ops []string
	for o := range st.Operations().All() {
		if now.Sub(o.Created) > keepOperations {
			ops = append(ops, o.Key)
		}
	}
	add := func(what string, ids []string, del func(tx *store.Tx, id string)) {
		for batch := range slices.Chunk(ids, garbageBatch) {
			steps = append(steps, step{what, func(tx *store.Tx) (func(), error) {
				for _, id := range batch {
					del(tx, id)
				}
				return nil, nil
			}})
		}
	}
	add("old operations", ops, func(tx *store.Tx, id string) { tx.Operations().Delete(id) })
	add("old migrations", oldMigrations(st, seen, now), func(tx *store.Tx, id string) {
		// Closed is for ever, so the plan still holds.
		tx.Migrations().Delete(id)
	})
	add("old tombstones", oldGone(st, seen), func(tx *store.Tx, id string) { tx.Gone().Delete(id) })
	return steps, now.Add(garbagePeriod)
}

// oldMigrations lists the closed migrations beyond the newest, but for those that some agent may still ask about.
func oldMigrations(st *store.State, seen sight, now time.Time) []string {
	var closed []cluster.Migration
	for m := range st.Migrations().All() {
		if m.Closed {
			closed = append(closed, m)
		}
	}
	if len(closed) <= keepMigrations {
		return nil
	}
	slices.SortFunc(closed, func(a, b cluster.Migration) int { return b.Changed.Compare(a.Changed) })
	var ids []string
	for _, m := range closed[keepMigrations:] {
		if seen.mentions(m.ID) || (!clean(m) && now.Sub(m.Changed) < keepUnclean) {
			continue
		}
		ids = append(ids, m.ID)
	}
	return ids
}

// clean tells whether both sides were seen to have cleaned up.
func clean(m cluster.Migration) bool {
	if m.Phase == cluster.PhaseDone {
		return m.From.Step == cluster.SourceDestroyed
	}
	return (m.From.Step == cluster.SourceThawed || m.From.Step == cluster.SourceNone) &&
		(m.To.Step == cluster.TargetDiscarded || m.To.Step == cluster.TargetNone)
}

// mentions tells whether some node still reports a migration.
func (s sight) mentions(id string) bool {
	for _, r := range s.nodes {
		if r != nil {
			if _, ok := r.Migrations[id]; ok {
				return true
			}
		}
	}
	return false
}

// oldGone lists the tombstones beyond the newest, but for those of which a copy is reported.
func oldGone(st *store.State, seen sight) []string {
	if st.Gone().Len() <= keepGone {
		return nil
	}
	var gone []cluster.Gone
	for g := range st.Gone().All() {
		gone = append(gone, g)
	}
	slices.SortFunc(gone, func(a, b cluster.Gone) int { return cmp.Or(b.When.Compare(a.When), cmp.Compare(a.CTID, b.CTID)) })
	held := map[string]bool{}
	for _, r := range seen.nodes {
		if r != nil {
			for _, c := range r.Copies {
				held[c.CTID] = true
			}
		}
	}
	var ids []string
	for _, g := range gone[keepGone:] {
		if !held[g.CTID] {
			ids = append(ids, g.CTID)
		}
	}
	return ids
}
