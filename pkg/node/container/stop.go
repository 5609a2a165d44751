package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/node"
)

// defaultStopTimeout is how long init has when the container names no time.
const defaultStopTimeout = 30 * time.Second

// Stop implements [node.Runtime]. The generation is recorded when the container is gone: a crash in between repeats the order.
func (r *Runtime) Stop(ctx context.Context, c cluster.Container) error {
	defer r.locks.lock(c.CTID)()
	if err := r.stop(ctx, c); err != nil {
		return fmt.Errorf("stop %s: %w", c.CTID, err)
	}
	return nil
}

func (r *Runtime) stop(ctx context.Context, c cluster.Container) error {
	rec, err := r.heldFor(c)
	if err != nil {
		return err
	}
	_, st, pid, err := r.running(c.CTID)
	if err != nil {
		return err
	}
	if st == libcontainer.Paused && !c.Force {
		return errors.New("it is frozen: stop it with force")
	}
	if st == libcontainer.Running && !c.Force {
		if err := r.askToHalt(ctx, c, pid); err != nil {
			return err
		}
	}
	if err := r.clean(c.CTID); err != nil {
		return err
	}
	rec.Epoch, rec.RunGen = c.Epoch, c.RunGen
	if err := writeRecord(r.confPath(c.CTID), rec); err != nil {
		return err
	}
	r.log.Info("container stopped", "ctid", c.CTID, "run_gen", c.RunGen)
	return nil
}

// askToHalt asks init to end and gives it its time. It fails only if ctx ends.
func (r *Runtime) askToHalt(ctx context.Context, c cluster.Container, pid int) error {
	timeout := c.StopTimeout
	if timeout <= 0 {
		timeout = defaultStopTimeout
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil // it ended meanwhile
	}
	defer unix.Close(fd)
	deadline := time.Now().Add(timeout)
	asked := r.halt(ctx, c.CTID, pid, timeout)
	if !asked {
		r.log.Info("init takes no request to halt", "ctid", c.CTID)
	}
	for asked && ctx.Err() == nil {
		left := time.Until(deadline)
		if left <= 0 {
			r.log.Warn("init did not halt in time and is killed", "ctid", c.CTID, "timeout", timeout)
			break
		}
		// In short steps, to see that ctx ended.
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(min(left, 100*time.Millisecond).Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for init: %w", err)
		}
		if n > 0 {
			break
		}
	}
	return ctx.Err()
}

// halt asks in the way that this kind of init understands, and tells whether it asked. A program of an unknown kind that does not handle
// SIGTERM is not waited for, since the kernel drops signals to pid 1 that it has no handler for.
func (r *Runtime) halt(ctx context.Context, ctid string, pid int, timeout time.Duration) bool {
	exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	var sig unix.Signal
	switch base := filepath.Base(exe); {
	case base == "systemd":
		sig = sigHaltSystemd
	case strings.HasPrefix(base, "busybox"):
		sig = unix.SIGUSR2
	case base == "init": // sysvinit: go to runlevel 0, and if nobody can be told so, a power failure
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		code, err := r.exec(ctx, ctid, node.ExecSpec{Argv: []string{"/sbin/telinit", "0"}, Stdin: bytes.NewReader(nil), Stdout: io.Discard,
			Stderr: io.Discard})
		if err == nil && code == 0 {
			return true
		}
		sig = unix.SIGPWR
	default:
		sig = unix.SIGTERM
	}
	return (sig != unix.SIGTERM || catches(pid, sig)) && unix.Kill(pid, sig) == nil
}

// sigHaltSystemd is SIGRTMIN+3 as the C library counts.
const sigHaltSystemd = unix.Signal(37)

// catches tells whether a process has a handler for a signal, or takes it without one (signalfd, sigwait).
func catches(pid int, sig unix.Signal) bool {
	// While it waits in sigwait the mask that it waits with is hidden.
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid)); err == nil {
		if nr, _, _ := strings.Cut(string(b), " "); nr == strconv.Itoa(unix.SYS_RT_SIGTIMEDWAIT) {
			return true
		}
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		key, val, _ := strings.Cut(line, ":")
		if key != "SigCgt" && key != "SigBlk" {
			continue
		}
		mask, err := strconv.ParseUint(strings.TrimSpace(val), 16, 64)
		if err == nil && mask&(1<<(sig-1)) != 0 {
			return true
		}
	}
	return false
}
