package raftlog

import "github.com/hashicorp/raft"

// cachedEntries is how many of the last entries are kept in memory: as many as replication may be sending and the state machine
// may have yet to apply, several full batches of each. They are alive as part of the store's state anyway, so they cost little.
const cachedEntries = 512

// cached returns logs with its last entries in memory. Replication to each follower and the state machine read every entry soon
// after it was written; from the log on disk each of them is a system call and a checksum.
func cached(logs raft.LogStore) (raft.LogStore, error) { return raft.NewLogCache(cachedEntries, logs) }
