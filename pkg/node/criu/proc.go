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

// stat reads state, parent and start time (clock ticks since boot) of a process.
func stat(pid int) (state byte, ppid int, start uint64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, 0, err
	}
	i := bytes.LastIndexByte(b, ')') // the name before it may hold anything
	f := strings.Fields(string(b[i+1:]))
	if i < 0 || len(f) < 20 {
		return 0, 0, 0, fmt.Errorf("process %d: unreadable stat", pid)
	}
	ppid, err1 := strconv.Atoi(f[1])
	start, err2 := strconv.ParseUint(f[19], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, 0, 0, fmt.Errorf("process %d: unreadable stat", pid)
	}
	return f[0][0], ppid, start, nil
}

func startTime(pid int) (uint64, error) {
	state, _, start, err := stat(pid)
	if err == nil && (state == 'Z' || state == 'X') {
		err = fmt.Errorf("process %d has ended", pid)
	}
	return start, err
}

// descendants lists the living processes below pid, nearest first.
func descendants(pid int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	children := map[int][]int{}
	for _, e := range entries {
		p, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if state, ppid, _, err := stat(p); err == nil && state != 'Z' && state != 'X' {
			children[ppid] = append(children[ppid], p)
		}
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
