// Package master is one member of the masters: it serves the cluster API and the node sessions, and while it leads it runs the loops
// that bring the cluster to where the operators want it.
//
//	Cluster service --- a follower forwards each call to the leader (forward.go)
//	     | validate, one store.Update with the operation's record
//	     v
//	   store  <--- loops: liveness, containers, migrations, garbage   (level-triggered; the first pass is the recovery)
//	     |            ^
//	     v            | what agents report: leases, copies, progress: only in the leader's memory (live.go)
//	Session service --+--- Directive = pure function of (state, node, what was reported)   (directive.go)
//
// Who writes what: services write what operators want (Want, Spec, RunGen, Cordoned, a new Migration); the loops write what is
// (State, Reason, Phase, Node, Epoch), in one place each: observe.go for containers, pkg/migrate's plan for migrations, liveness.go
// for nodes. Only transitions are stored; heartbeats, usage and progress are not.
//
// Leadership is a [term] with a context that dies with it: sessions and loops die with the context, and nothing of a term outlives it.
// A new leader knows nothing of the nodes, so it gives each a full lease before it says that one is silent.
//
// # Members
//
// A master joins without a vote, and tend (promote.go) gives votes so that the number of voters is odd. Before a master takes part with
// its data directory, and again whenever it enters itself, the others compare what it says of it with what they know (admit.go): a
// copy, an older state, an empty directory under a member's name, or one of another cluster is refused, and its process ends.
//
// # After a restore
//
// Records that were restored say nothing of the hosts any more. Containers are marked for adoption: nobody acts on one before the
// nodes' reports have shown where it is (adopt.go).
//
// # Orphans
//
// A copy is discarded (R6, by CTID and epoch) only if the records prove it dead: the container is owned elsewhere at a higher epoch
// and complete there, or it was destroyed at that epoch or later. Anything else that a node holds is left alone and shown.
package master
