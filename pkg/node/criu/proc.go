package criu

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process is what /proc/PID/stat says of a living one.
type process struct {
	pid, parent, session int
	start                uint64 // clock ticks since boot
}

func stat(pid int) (process, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, err
	}
	i := bytes.LastIndexByte(b, ')') // the name before it may hold anything
	f := strings.Fields(string(b[i+1:]))
	if i < 0 || len(f) < 20 {
		return process{}, fmt.Errorf("process %d: unreadable stat", pid)
	}
	if f[0] == "Z" || f[0] == "X" {
		return process{}, fmt.Errorf("process %d has ended", pid)
	}
	p := process{pid: pid}
	p.parent, err = strconv.Atoi(f[1])
	if err == nil {
		p.session, err = strconv.Atoi(f[3])
	}
	if err == nil {
		p.start, err = strconv.ParseUint(f[19], 10, 64)
	}
	if err != nil {
		return process{}, fmt.Errorf("process %d: unreadable stat: %w", pid, err)
	}
	return p, nil
}

func startTime(pid int) (uint64, error) {
	p, err := stat(pid)
	return p.start, err
}

// processes lists the living ones.
func processes() []process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []process
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if p, err := stat(pid); err == nil {
				all = append(all, p)
			}
		}
	}
	return all
}

// descendants lists the living processes below pid, nearest first.
func descendants(pid int) []int {
	children := map[int][]int{}
	for _, p := range processes() {
		children[p.parent] = append(children[p.parent], p.pid)
	}
	var all []int
	for queue := []int{pid}; len(queue) > 0; queue = queue[1:] {
		all = append(all, children[queue[0]]...)
		queue = append(queue, children[queue[0]]...)
	}
	return all
}

// killTree kills pid and everything below it. pid is stopped first, so that it can neither make more nor lose the link
// to what it made; a restored tree is a pid namespace whose init takes all others with it.
func killTree(pid int) {
	_ = unix.Kill(pid, unix.SIGSTOP)
	for range 200 {
		below := descendants(pid)
		if len(below) == 0 {
			break
		}
		for _, p := range below {
			_ = unix.Kill(p, unix.SIGKILL)
		}
		time.Sleep(time.Millisecond)
	}
	_ = unix.Kill(pid, unix.SIGKILL)
	killSession(pid)
}

// killSession kills what a worker that has ended left of its session: helpers of its own, or tasks that it had begun to restore. A session's
// number is not given out again while any process is in it.
func killSession(sid int) {
	for range 200 {
		left := 0
		for _, p := range processes() {
			if p.session == sid && p.pid != sid {
				left++
				_ = unix.Kill(p.pid, unix.SIGKILL)
			}
		}
		if left == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// waitGone waits until the process that began at that time has ended.
func waitGone(ctx context.Context, pid int, begun uint64) error {
	for {
		if now, err := startTime(pid); err != nil || now != begun {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}
