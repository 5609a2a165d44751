package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runc/libcontainer"

	"github.com/vzcluster/vzcluster/pkg/node"
)

// Exit codes of a shell for a program that it cannot run.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

// outputGrace is how long output is still read after the process ended, if others hold its end of the pipe (a daemon that it left).
const outputGrace = 200 * time.Millisecond

// Exec implements [node.Runtime]. A program that is not there or cannot be run gives 127 or 126 and a line on Stderr, as in a shell; an error
// means that the container or the runtime failed. When ctx ends the process is killed.
func (r *Runtime) Exec(ctx context.Context, ctid string, e node.ExecSpec) (int, error) {
	r.session(ctid, 1)
	defer r.session(ctid, -1)
	code, err := r.exec(ctx, ctid, e)
	if err != nil {
		return code, fmt.Errorf("exec in %s: %w", ctid, err)
	}
	return code, nil
}

func (r *Runtime) session(ctid string, d int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sessions[ctid] += d; r.sessions[ctid] == 0 {
		delete(r.sessions, ctid)
	}
}

// Sessions counts the Exec calls that run in a container. Their processes have pipes to the outside, so CRIU cannot dump them.
func (r *Runtime) Sessions(ctid string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions[ctid]
}

// stdio connects a process with the caller's streams.
type stdio interface {
	// started is called when the process has its ends.
	started()
	resize(rows, cols uint16) error
	// finish is called when the process has ended; it returns when its output is delivered.
	finish()
}

func (r *Runtime) exec(ctx context.Context, ctid string, e node.ExecSpec) (int, error) {
	if len(e.Argv) == 0 {
		return 0, errors.New("no command")
	}
	lc, st, _, err := r.running(ctid)
	if err != nil {
		return 0, err
	}
	switch st {
	case libcontainer.Running:
	case libcontainer.Paused:
		return 0, errors.New("the container is frozen")
	default:
		return 0, ErrNotRunning
	}
	p := &libcontainer.Process{Args: e.Argv, Env: execEnv(e), Cwd: e.Cwd}
	if p.Cwd == "" {
		p.Cwd = "/root"
		if e.Argv[0] == "" || !r.hasDir(ctid, "root") {
			p.Cwd = "/"
		}
	}
	var streams stdio
	if e.TTY {
		streams, err = ttyStdio(p, e)
	} else {
		streams, err = pipeStdio(p, e)
	}
	if err != nil {
		return 0, err
	}
	if err := lc.Run(p); err != nil {
		streams.started()
		streams.finish()
		if code, text := cannotRun(e.Argv[0], err); code != 0 {
			say(e, text)
			return code, nil
		}
		return 0, err
	}
	streams.started()
	defer streams.finish()
	return waitProcess(ctx, p, e, streams)
}

// hasDir tells whether the root has a directory, without following a link out of it.
func (r *Runtime) hasDir(ctid, name string) bool {
	fi, err := os.Lstat(r.rootDir(ctid) + "/" + name)
	return err == nil && fi.IsDir()
}

// waitProcess forwards signals and sizes until the process ends.
func waitProcess(ctx context.Context, p *libcontainer.Process, e node.ExecSpec, streams stdio) (int, error) {
	type result struct {
		state *os.ProcessState
		err   error
	}
	done := make(chan result, 1)
	go func() {
		state, err := p.Wait()
		done <- result{state, err}
	}()
	cancelled := ctx.Done()
	for {
		select {
		case res := <-done:
			if res.state == nil {
				return 0, res.err
			}
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			return exitCode(res.state), nil
		case <-cancelled:
			_ = p.Signal(os.Kill) // it may have ended just now
			cancelled = nil
		case n, ok := <-e.Signal:
			if !ok {
				e.Signal = nil
			} else if n > 0 && n <= 64 {
				_ = p.Signal(syscall.Signal(n))
			}
		case size, ok := <-e.Resize:
			if !ok {
				e.Resize = nil
			} else {
				_ = streams.resize(size[0], size[1])
			}
		}
	}
}

// exitCode is the exit status, or 128 + the signal that killed the process.
func exitCode(s *os.ProcessState) int {
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return s.ExitCode()
}

// cannotRun recognises that libcontainer found no program to run.
func cannotRun(name string, err error) (code int, text string) {
	msg := err.Error()
	switch {
	case strings.Contains(msg, "executable file not found"), strings.Contains(msg, "no such file or directory") && strings.Contains(msg, name):
		return exitNotFound, name + ": not found\n"
	case strings.Contains(msg, "permission denied") && strings.Contains(msg, name):
		return exitNotExecutable, name + ": permission denied\n"
	}
	return 0, ""
}

func say(e node.ExecSpec, text string) {
	w := e.Stderr
	if e.TTY || w == nil {
		w = e.Stdout
	}
	if w != nil {
		_, _ = io.WriteString(w, text)
	}
}

// execEnv is the usual environment of root, overridden by the caller's.
func execEnv(e node.ExecSpec) []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root", "LOGNAME=root"}
	if e.TTY {
		env = append(env, "TERM=xterm")
	}
	return append(env, e.Env...)
}
