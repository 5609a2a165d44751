package migrate

import "time"

// Bounds of the running rounds.
const (
	maxRounds   = 6
	budgetBytes = 1 << 20 // as little as this is quickly sent under the freeze
	budgetFiles = 64
)

// Round is what one running round sent.
type Round struct {
	Files, Bytes uint64
	Took         time.Duration
}

// Enough tells whether another running round is worth its while. Pure: only what the rounds were counts. No more when the last one was
// within the budget, when it did not get smaller by a quarter, or when there were many.
func Enough(rounds []Round) bool {
	n := len(rounds)
	if n == 0 {
		return false
	}
	last := rounds[n-1]
	if n >= maxRounds || last.Bytes <= budgetBytes && last.Files <= budgetFiles {
		return true
	}
	return n >= 2 && last.Bytes > rounds[n-2].Bytes/4*3 && last.Files > rounds[n-2].Files/4*3
}
