package migrate

import "sync/atomic"

// Faults are switched on by tests in the real binary (`vznode --fault`). The zero value does nothing.
type Faults struct {
	// CorruptImageOnce: one byte of the next image data that is sent is changed, after its digest was taken.
	CorruptImageOnce atomic.Bool
}

func (f *Faults) corrupt(p []byte) {
	if f != nil && len(p) > 0 && f.CorruptImageOnce.CompareAndSwap(true, false) {
		p[len(p)/2] ^= 1
	}
}
