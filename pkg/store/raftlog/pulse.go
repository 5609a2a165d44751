package raftlog

import (
	"context"
	"sync"
	"time"
)

const (
	// pulseEvery is how often a healthy process shows that it runs.
	pulseEvery = 100 * time.Millisecond
	// pauseLimit is a gap between two pulses that means the process stood still. It is below raft's leader lease (500 ms): a shorter
	// pause can't have cost the leadership.
	pauseLimit = 400 * time.Millisecond
	// pauseMemory is how long after a pause answers from before it are still to be reckoned with: longer than any RPC waits.
	pauseMemory = rpcTimeout + time.Second
)

// pulse notices when the whole process was paused (SIGSTOP, a suspended machine, no CPU).
type pulse struct {
	mu    sync.Mutex
	last  time.Time
	pause time.Time // end of the last pause
}

func (p *pulse) run(ctx context.Context) {
	tick := time.NewTicker(pulseEvery)
	defer tick.Stop()
	for {
		p.beat(time.Now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (p *pulse) beat(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.last.IsZero() && now.Sub(p.last) > pauseLimit {
		p.pause = now
	}
	p.last = now
}

// suspect tells whether the process stood still not long ago, or may have until just now.
func (p *pulse) suspect(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.last.IsZero() && now.Sub(p.last) > pauseLimit {
		return true
	}
	return !p.pause.IsZero() && now.Sub(p.pause) < pauseMemory
}
