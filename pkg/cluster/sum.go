package cluster

// Sum is a checksum of all that is stored, after one entry of the log. Masters that have the same entries must have the same sums.
type Sum struct {
	Index uint64 `json:"index"`
	Sum   uint64 `json:"sum,string"` // a number of 64 bits is not safe in every reader of JSON
}
