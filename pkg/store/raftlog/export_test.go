package raftlog

// Snapshot takes a snapshot now and drops the entries behind it.
func (l *Log) Snapshot() error { return l.raft.Snapshot().Error() }

// HangDisk has an operation on the disk hang until release is closed.
func (l *Log) HangDisk(release <-chan struct{}) {
	_ = l.dog.do("write", func() error { <-release; return nil })
}
