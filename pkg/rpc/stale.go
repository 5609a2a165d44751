package rpc

// Metadata of a question that may be answered from what the asked master has, and of its answer.
const (
	// StaleKey in a request: no leader is needed for the answer.
	StaleKey = "vz-stale"
	// AsOfKey in the answer's header: when (RFC 3339) the master that answered last heard from the leader, or led for certain. What was
	// changed later is not in the answer, and of a follower's what was changed in the moment before may be missing. Absent: never.
	AsOfKey = "vz-as-of"
	// RevKey in the answer's header: the revision of the records.
	RevKey = "vz-rev"
	// ServedByKey in the answer's header: the id of the master that answered.
	ServedByKey = "vz-served-by"
)
