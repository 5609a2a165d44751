package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// procStart returns when a process started, in clock ticks since boot: with its pid a name that is never used twice.
func procStart(pid int) (uint64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The command name may hold anything, so count fields after its closing parenthesis.
	i := bytes.LastIndexByte(data, ')')
	if i < 0 {
		return 0, fmt.Errorf("process %d: odd stat line", pid)
	}
	fields := strings.Fields(string(data[i+1:]))
	if len(fields) < 20 {
		return 0, fmt.Errorf("process %d: odd stat line", pid)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// procState returns the state letter of a process, 0 if there is none.
func procState(pid int) byte {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	i := bytes.LastIndexByte(data, ')')
	if i < 0 || len(data) < i+3 {
		return 0
	}
	return data[i+2]
}

// errGone says that a process is no more.
var errGone = errors.New("the process is gone")

// openPid returns a pidfd of the process that had this pid and start time, or errGone.
func openPid(pid int, start uint64) (*os.File, error) {
	if pid <= 0 {
		return nil, errGone
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
			return nil, errGone
		}
		return nil, fmt.Errorf("pidfd of %d: %w", pid, err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	// Compared after the open: if the start time matches now, the descriptor is of that process.
	if got, err := procStart(pid); err != nil || got != start || procState(pid) == 'Z' {
		f.Close()
		return nil, errGone
	}
	return f, nil
}

// waitPid waits at most d until the process behind a pidfd has ended, and tells whether it has.
func waitPid(pidfd *os.File, d time.Duration) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(d/time.Millisecond))
	if err != nil && !errors.Is(err, unix.EINTR) {
		return false, fmt.Errorf("wait for process: %w", err)
	}
	return n > 0, nil
}

// allPids lists the processes that the machine sees.
func allPids() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// cmdline returns the arguments of a process, nil when it is gone or a kernel thread.
func cmdline(pid int) []string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(data) == 0 {
		return nil
	}
	return strings.Split(strings.TrimRight(string(data), "\x00"), "\x00")
}
