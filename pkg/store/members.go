package store

import "time"

// Server is one member of a log that its members keep themselves.
type Server struct {
	ID       string
	RaftAddr string
	Voter    bool
	Leader   bool
}

// Progress is how far a member has come.
type Progress struct {
	Term      uint64
	LastIndex uint64    // the end of its log
	Applied   uint64    // the last entry that it has applied
	Contact   time.Time // when it last heard from the leader; zero: never, or it leads itself
}
