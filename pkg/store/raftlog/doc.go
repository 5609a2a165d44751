// Package raftlog is the embedded [store.Log]: hashicorp/raft with a write-ahead log on disk.
//
//	Commit ──> raft.Apply ──> FSM on every member: preconditions against the mirror ──> revision, or ErrConflict as the response
//	Follow <── the FSM's mirror: an image, then every batch; a follower that is slow gets an image again and never blocks raft
//	Lead   <── raft.LeaderCh ──> barrier ──> run(ctx, term) ──> leadership transfer if run gave up
//
// The revision of a key is the index of the log entry that wrote it.
//
// What is not left to the library, and why:
//
//   - Every wait for a raft future has a deadline of our own: a leader whose disk hangs answers none of them, ever.
//   - A proposal carries the term in which it was made, and the FSM refuses it in another: a leader that was deposed and elected
//     again can't let through what its former self had begun.
//   - Any error when writing log or vote ends [Log.Run], hence the process: after a failed fsync the kernel has forgotten the
//     dirty pages and a second try would lie. An entry that can't be decoded ends it too: going on would make members differ.
//   - After a pause of the process, heartbeat answers from before it may still wait in its sockets and would confirm a leadership
//     that is over; ReadIndex commits a barrier instead of asking for heartbeats then.
//   - Requests are not pipelined (MaxRPCsInFlight 1): with it a follower whose disk stalled may never be replicated to again.
//
// Where the members' API addresses are is part of the state: cluster.Master records, keyed by raft server id. A new master is added
// by the leader: first its record, by [store.Store.Update], then [Log.AddVoter].
//
// On disk, below Config.DataDir (mode 0700): lock, id, wal/ and snapshots/ (the two newest).
package raftlog
