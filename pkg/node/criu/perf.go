package criu

import (
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

var perfOnce = sync.OnceValue(openPerf)

// HoldPerf keeps one task-attached perf event open for the rest of this process's life. CRIU stops tasks with hardware
// breakpoints, which are such events; the first one in the system makes the kernel wait for an RCU grace period, with all
// tasks standing still. The host works without it, some ten milliseconds slower per migration.
func HoldPerf() error { return perfOnce() }

func openPerf() error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the event is this thread's: it must not end
		attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_DUMMY, Bits: unix.PerfBitDisabled}
		attr.Size = unix.PERF_ATTR_SIZE_VER5
		_, err := unix.PerfEventOpen(&attr, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		done <- err
		if err == nil {
			select {}
		}
	}()
	if err := <-done; err != nil {
		return fmt.Errorf("hold perf event: %w", err)
	}
	return nil
}
