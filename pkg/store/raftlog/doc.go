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
//     And the leader watches what each follower confirms (peers.go): one that answers but takes nothing is an alarm.
//   - raft's heartbeats touch no disk, so a leader whose disk hangs would lead for ever. A watchdog that does not touch the disk either
//     counts how long each operation takes, a canary that is written every second included, and ends the process (watchdog.go).
//   - raft-wal trusts the disk: behind the first record that it can't read it takes the log to have ended. So the whole log is read
//     and compared with its checksums at each start (verify.go, segment.go): only an end that was cut off is let pass.
//   - Each member computes the state for itself, so one may compute it wrongly. A sum of the state after each of the last entries
//     (sums.go) lets the masters compare; one that a majority contradicts is put in quarantine (pkg/master, diverge.go).
//
// A member whose data is damaged or in quarantine begins afresh: the others remove it, [Empty] moves its data aside and leaves only the
// term, and the others take it in again (vzmaster resync).
//
// Where the members' API addresses are is part of the state: cluster.Master records, keyed by raft server id. A new master is added
// by the leader, first without a vote ([Log.AddNonvoter]), then with one ([Log.AddVoter]); who counts as caught up is the caller's matter.
//
// A member's acknowledgement is worth nothing from a directory that has forgotten it. So each directory has an identity of its own and
// counts its starts, and before a member can be reached Config.Admit has the others judge whether it is the one that they know
// (pkg/master, admit.go).
//
// On disk, below Config.DataDir (mode 0700): lock, id, identity.json, canary, wal/ and snapshots/ (the two newest);
// quarantine, retired, resync.json and damaged-*/ (what was moved aside) where there was reason.
package raftlog
