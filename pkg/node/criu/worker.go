package criu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Config says how a worker is started.
type Config struct {
	Path string // of the criu program
	// Dir is the worker's own directory: it keeps the log, and the pid file by which [KillStale] finds a worker that
	// outlived its agent. Empty: no pid file, and no log in errors.
	Dir string
	// Cgroups are directories of existing cgroups (each hierarchy's at most one) that the worker, and with it every
	// restored task, is born in. Empty: those of this process.
	Cgroups []string
	// NewCgroupNS gives the worker, and with it every restored task, a cgroup namespace rooted at Cgroups.
	NewCgroupNS bool
}

// Worker is a `criu swrk` process that waits for its one request. Not safe for concurrent use, but for [Worker.Kill].
type Worker struct {
	cfg  Config
	cmd  *exec.Cmd
	conn *net.UnixConn

	killed sync.Once
	ended  chan struct{} // closed when the process was reaped
}

const (
	pidFile = "criu.pid"
	// lastWords is how long an answer may take from the worker's end: it has been sent before.
	lastWords = 100 * time.Millisecond
)

// Start starts a worker, which then waits for its request for as long as it takes.
func Start(cfg Config) (*Worker, error) {
	type result struct {
		w   *Worker
		err error
	}
	done := make(chan result, 1)
	onThrowAwayThread(func() {
		w, err := start(cfg)
		done <- result{w, err}
	})
	r := <-done
	if r.err != nil {
		return nil, fmt.Errorf("start criu: %w", r.err)
	}
	return r.w, nil
}

// onThrowAwayThread runs f on a thread that ends with it: f may move the thread into other cgroups. The first thread of
// a process cannot end, so it is never taken.
func onThrowAwayThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f() // still locked at the end: the runtime ends the thread
			return
		}
		done := make(chan struct{})
		onThrowAwayThread(func() { defer close(done); f() })
		<-done
		runtime.UnlockOSThread()
	}()
}

func start(cfg Config) (*Worker, error) {
	attr := &syscall.SysProcAttr{Setsid: true}
	for _, dir := range cfg.Cgroups {
		err := writeExisting(filepath.Join(dir, "tasks"), strconv.Itoa(unix.Gettid()))
		if errors.Is(err, os.ErrNotExist) { // v2: one thread cannot be moved alone, but a child can be born there
			fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				return nil, fmt.Errorf("open cgroup %s: %w", dir, err)
			}
			defer unix.Close(fd)
			attr.UseCgroupFD, attr.CgroupFD = true, fd
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("join cgroup %s: %w", dir, err)
		}
	}
	if cfg.NewCgroupNS {
		attr.Unshareflags = unix.CLONE_NEWCGROUP
	}
	fds, err := unix.Socketpair(unix.AF_LOCAL, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "criu"), os.NewFile(uintptr(fds[1]), "criu")
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	w := &Worker{cfg: cfg, conn: conn.(*net.UnixConn), ended: make(chan struct{})}
	w.cmd = exec.Command(cfg.Path, "swrk", "3", "--no-default-config")
	w.cmd.ExtraFiles = []*os.File{theirs}
	w.cmd.SysProcAttr = attr
	// PATH is for tar, which CRIU runs for a tmpfs that the container mounted itself.
	w.cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/nonexistent"}
	w.cmd.Dir = "/"
	if err := w.cmd.Start(); err != nil {
		conn.Close()
		return nil, err
	}
	go func() {
		_ = w.cmd.Wait()
		// A helper of its own may have outlived it and keep the socket open: the end of file would never come.
		_ = w.conn.SetReadDeadline(time.Now().Add(lastWords))
		close(w.ended)
	}()
	if err := w.writePidFile(); err != nil {
		w.Kill()
		return nil, err
	}
	return w, nil
}

// writeExisting writes to a file of a kernel file system, which answers an attempt to create with other errors.
func writeExisting(file, s string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(s)
	return err
}

// Pid of the worker process.
func (w *Worker) Pid() int { return w.cmd.Process.Pid }

// Kill ends the worker and every process below it, without giving any of them the chance to do something more, and waits
// until they are gone. After a successful restore the container is no longer below it. May be called at any time, repeatedly.
func (w *Worker) Kill() {
	w.killed.Do(func() {
		select {
		case <-w.ended:
			killSession(w.Pid())
		default:
			killTree(w.Pid())
		}
		w.conn.Close()
	})
	<-w.ended
	w.removePidFile()
}

// finish is for a worker that has succeeded: there is nothing left to kill, what it restored is not its own any more.
func (w *Worker) finish() {
	w.killed.Do(func() { w.conn.Close() })
	<-w.ended
	w.removePidFile()
}

func (w *Worker) writePidFile() error {
	if w.cfg.Dir == "" {
		return nil
	}
	start, err := startTime(w.Pid())
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(w.cfg.Dir, pidFile), []byte(fmt.Sprintf("%d %d\n", w.Pid(), start)), 0o600)
}

func (w *Worker) removePidFile() {
	if w.cfg.Dir != "" {
		_ = os.Remove(filepath.Join(w.cfg.Dir, pidFile))
	}
}

// AwaitStale waits until the worker that was started with this directory, by whatever process, has ended.
func AwaitStale(ctx context.Context, dir string) error {
	pid, begun, err := readPidFile(dir)
	if err != nil || pid == 0 {
		return err
	}
	return waitGone(ctx, pid, begun)
}

// readPidFile returns 0 if there is no, or no whole, pid file.
func readPidFile(dir string) (pid int, begun uint64, err error) {
	b, err := os.ReadFile(filepath.Join(dir, pidFile))
	if errors.Is(err, os.ErrNotExist) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read pid of criu: %w", err)
	}
	if n, err := fmt.Sscanf(string(b), "%d %d", &pid, &begun); n != 2 || err != nil || pid <= 1 {
		return 0, 0, nil
	}
	return pid, begun, nil
}

// KillStale kills the worker that was started with this directory, by whatever process, and everything below it. It does
// nothing if that worker has ended.
func KillStale(ctx context.Context, dir string) error {
	pid, begun, err := readPidFile(dir)
	if err != nil || pid == 0 {
		return err
	}
	switch now, err := startTime(pid); {
	case err != nil:
		killSession(pid)
	case now == begun:
		killTree(pid)
		if err := waitGone(ctx, pid, begun); err != nil {
			return fmt.Errorf("kill stale criu %d: %w", pid, err)
		}
	}
	return os.Remove(filepath.Join(dir, pidFile))
}
