package node

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// The lease ends on its own clock, and never gets shorter by an answer that comes late.
func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		l := newLease(func() time.Duration { return time.Since(start) })
		valid := func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			err := l.wait(ctx)
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			return err == nil
		}
		if valid() {
			t.Error("valid before it was ever granted")
		}
		l.renew(15 * time.Second)
		l.renew(9 * time.Second) // the answer to an older report
		time.Sleep(14 * time.Second)
		if !valid() {
			t.Error("over too early")
		}
		time.Sleep(time.Second)
		if valid() {
			t.Error("valid beyond its end")
		}
		done := make(chan error, 1)
		go func() { done <- l.wait(t.Context()) }()
		synctest.Wait()
		l.renew(time.Since(start) + time.Second)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
