package criu

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// tcpRepairOffNoProbe is TCP_REPAIR_OFF_NO_WP: leave repair mode without sending a window probe.
const tcpRepairOffNoProbe = -1

// EndTCPRepair takes every TCP socket of the processes out of repair mode, in which a killed dump leaves them: they
// would never send again. It returns how many it found. The processes may be frozen.
func EndTCPRepair(pids []int) (int, error) {
	var n int
	var errs []error
	for _, pid := range pids {
		m, err := endTCPRepair(pid)
		n += m
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("end tcp repair of process %d: %w", pid, err))
		}
	}
	return n, errors.Join(errs...)
}

func endTCPRepair(pid int) (int, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	pidfd := -1
	defer func() {
		if pidfd >= 0 {
			unix.Close(pidfd)
		}
	}()
	var n int
	for _, e := range entries {
		link, err := os.Readlink(dir + "/" + e.Name())
		if err != nil || !strings.HasPrefix(link, "socket:") {
			continue
		}
		if pidfd < 0 {
			if pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
				return n, err
			}
		}
		num, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		fd, err := unix.PidfdGetfd(pidfd, num, 0)
		if err != nil {
			continue
		}
		on, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR)
		if err == nil && on == 1 {
			n++
			err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, tcpRepairOffNoProbe)
			if err != nil {
				unix.Close(fd)
				return n, err
			}
		}
		unix.Close(fd)
	}
	return n, nil
}
