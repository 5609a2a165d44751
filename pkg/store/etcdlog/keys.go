package etcdlog

import (
	"encoding/json"
	"fmt"
)

// keys are the names below the prefix; see the package comment.
type keys struct{ data, head, election, hold string }

func keysOf(prefix string) keys {
	// The head sorts right before the data, so that one range has both.
	return keys{data: prefix + "/data/", head: prefix + "/data", election: prefix + "/election", hold: prefix + "/hold"}
}

// Candidate is a master that stands for leader; the one with the lowest term leads.
type Candidate struct {
	ID      string `json:"id"`
	APIAddr string `json:"api_addr"`
	Term    uint64 `json:"-"`
}

func (c Candidate) encode() (string, error) {
	value, err := json.Marshal(c)
	return string(value), err
}

func decodeCandidate(key string, value []byte, term uint64) (Candidate, error) {
	c := Candidate{Term: term}
	if err := json.Unmarshal(value, &c); err != nil {
		return c, fmt.Errorf("etcd: %s: %w", key, err)
	}
	return c, nil
}
