package rpc

// Metadata of a question that may be answered from what the asked master has, and of its answer.
const (
	// StaleKey in a request: no leader is needed for the answer.
	StaleKey = "vz-stale"
	// AsOfKey in the answer's header: everything acknowledged before this time (RFC 3339) is in the answer. Absent: that is not known.
	AsOfKey = "vz-as-of"
	// RevKey in the answer's header: the revision of the records.
	RevKey = "vz-rev"
	// ServedByKey in the answer's header: the id of the master that answered.
	ServedByKey = "vz-served-by"
)
