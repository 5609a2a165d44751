// Package move carries the state of a cluster from one back end to the other while no master runs.
//
//	raft data directories --> the one that knows most --> Moved --> etcd prefix
//	etcd prefix           --> one revision            --> Moved --> data directory of a new cluster of one voter
//
// Two things must never happen: that something acknowledged is lost, and that the old masters come up again beside the new ones. For
// the first, a majority of the voters' directories must be there: every acknowledged write is on one of them, and raft's own rule for
// elections says on which. For the second, the source is closed before the target is opened: directories are retired, a prefix is held.
//
// Revisions and terms begin anew. Records don't hold any, but agents remember the highest term that they obeyed; so the target's terms
// are raised above all of the source's (store.Meta.TermBase). The masters' own records stay behind: each master enters itself again.
package move
