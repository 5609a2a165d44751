package migrate

import (
	"context"
	"time"
)

// limiter is a token bucket: rate bytes per second, a tenth of a second's worth at once. nil or rate 0 lets everything through.
type limiter struct {
	rate  float64
	have  float64
	last  time.Time
	burst float64
}

func newLimiter(rate uint64) *limiter {
	if rate == 0 {
		return nil
	}
	burst := max(float64(rate)/10, chunkSize)
	return &limiter{rate: float64(rate), burst: burst, have: burst, last: time.Now()}
}

// take waits until n bytes may go. One caller at a time.
func (l *limiter) take(ctx context.Context, n int) error {
	if l == nil {
		return nil
	}
	now := time.Now()
	l.have = min(l.have+now.Sub(l.last).Seconds()*l.rate, l.burst) - float64(n)
	l.last = now
	if l.have >= 0 {
		return nil
	}
	t := time.NewTimer(time.Duration(-l.have / l.rate * float64(time.Second)))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
