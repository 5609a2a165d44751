package container

import (
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMainThreadIsKept: no other goroutine gets the main thread, however many want a thread of their own.
func TestMainThreadIsKept(t *testing.T) {
	var wg sync.WaitGroup
	release := make(chan struct{})
	for range 100 {
		wg.Add(1)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if unix.Gettid() == unix.Getpid() {
				t.Error("a goroutine has the main thread")
			}
			wg.Done()
			<-release // so that each needs another thread
		}()
	}
	wg.Wait()
	close(release)
}
