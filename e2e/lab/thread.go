package lab

import (
	"fmt"
	"math"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// onThread runs fn on an operating system thread that ends afterwards, so that fn may change the thread's namespaces.
func onThread(fn func() error) error {
	errc := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread cannot end, and /proc/self shows its namespaces: keep it busy here, so that fn gets another.
			defer runtime.UnlockOSThread()
			errc <- onThread(fn)
			return
		}
		errc <- fn() // still locked at the end of the goroutine: the runtime ends the thread
	}()
	return <-errc
}

// hostNamespaces are the namespaces that a host has of its own.
const hostNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWPID

// enter moves the calling thread into the given namespaces of the process behind a pidfd. Its children will be in the pid
// namespace too.
func enter(pidfd *os.File, namespaces int) error {
	if namespaces&unix.CLONE_NEWNS != 0 {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
	}
	if err := unix.Setns(int(pidfd.Fd()), namespaces); err != nil {
		return fmt.Errorf("enter namespaces: %w", err)
	}
	return nil
}

// closeStrayOnExec keeps descriptors that the caller was started with, and does not know of, out of the lab: an open file on one of
// the machine's mounts would follow into a container and make it impossible to checkpoint.
func closeStrayOnExec() error {
	const stdStreams = 3
	if err := unix.CloseRange(stdStreams, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close inherited descriptors on exec: %w", err)
	}
	return nil
}
