package raftlog

// Snapshot takes a snapshot now and drops the entries behind it.
func (l *Log) Snapshot() error { return l.raft.Snapshot().Error() }
