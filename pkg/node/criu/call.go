package criu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/checkpoint-restore/go-criu/v7/rpc"
	"google.golang.org/protobuf/proto"
)

// Point is a notification of CRIU.
type Point string

// The notifications that matter here, in CRIU's order.
const (
	PreDump         Point = "pre-dump"         // nothing is seized yet
	QueryExtFiles   Point = "query-ext-files"  // tasks are seized, nothing was read from them
	PostDump        Point = "post-dump"        // images are complete; an error fails the dump
	PreRestore      Point = "pre-restore"      // nothing is made yet
	SetupNamespaces Point = "setup-namespaces" // pid is the root task, alone in its new namespaces
	PostSetupNS     Point = "post-setup-namespaces"
	PostRestore     Point = "post-restore" // every task is parked before its first instruction; an error kills them all
	PreResume       Point = "pre-resume"   // too late to fail: errors are ignored from here on
	PostResume      Point = "post-resume"
)

// Hook is called at a notification; CRIU waits for it. pid is the root task's on this host where CRIU tells it, else 0.
type Hook func(ctx context.Context, pid int) error

// Hooks are the notifications that the caller wants; the others are answered at once.
type Hooks map[Point]Hook

// Error is a failed operation of CRIU.
type Error struct {
	Op   string // dump, restore...
	Text string // what CRIU said: the last error lines of its log
	Err  error  // the hook's error or the context's, if that was the reason
}

func (e *Error) Error() string {
	s := "criu " + e.Op
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Dump sends the one request of this worker and returns when CRIU is done and its process has ended.
// When ctx ends first, everything is killed: the tasks then run if they were not frozen by somebody else.
func (w *Worker) Dump(ctx context.Context, opts *rpc.CriuOpts, hooks Hooks) error {
	return w.operate(ctx, "dump", rpc.CriuReqType_DUMP, opts, hooks)
}

// Restore is Dump for restoring. On failure no restored task is left.
func (w *Worker) Restore(ctx context.Context, opts *rpc.CriuOpts, hooks Hooks) error {
	return w.operate(ctx, "restore", rpc.CriuReqType_RESTORE, opts, hooks)
}

func (w *Worker) operate(ctx context.Context, op string, t rpc.CriuReqType, opts *rpc.CriuOpts, hooks Hooks) error {
	stop := context.AfterFunc(ctx, w.Kill)
	logFile := op + ".log"
	if opts.LogFile == nil && opts.WorkDirFd != nil {
		opts.LogFile = proto.String(logFile)
	}
	if opts.LogLevel == nil {
		opts.LogLevel = proto.Int32(1) // errors: each written line costs time while tasks stand still
	}
	opts.NotifyScripts = proto.Bool(true)
	_, err := w.converse(ctx, &rpc.CriuReq{Type: &t, Opts: opts}, hooks)
	if !stop() {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		// CRIU has cleaned up behind itself if it could answer; if it could not, this does.
		w.Kill()
		return &Error{Op: op, Text: w.logTail(logFile), Err: err}
	}
	w.finish()
	return nil
}

// converse sends a request and answers CRIU's notifications until it gives the result.
func (w *Worker) converse(ctx context.Context, req *rpc.CriuReq, hooks Hooks) (*rpc.CriuResp, error) {
	buf := make([]byte, 64<<10)
	var hookErr error
	for {
		b, err := proto.Marshal(req)
		if err != nil {
			return nil, err
		}
		if _, err := w.conn.Write(b); err != nil {
			return nil, errors.Join(hookErr, fmt.Errorf("send to criu: %w", err))
		}
		n, err := w.conn.Read(buf)
		if err != nil || n == 0 {
			return nil, errors.Join(hookErr, errors.New("criu ended without an answer"))
		}
		resp := &rpc.CriuResp{}
		if err := proto.Unmarshal(buf[:n], resp); err != nil {
			return nil, fmt.Errorf("answer of criu: %w", err)
		}
		if resp.GetType() != rpc.CriuReqType_NOTIFY {
			if hookErr != nil {
				return nil, hookErr
			}
			if !resp.GetSuccess() {
				return nil, errors.New("failed")
			}
			return resp, nil
		}
		if hook := hooks[Point(resp.GetNotify().GetScript())]; hook != nil && hookErr == nil {
			hookErr = hook(ctx, int(resp.GetNotify().GetPid()))
		}
		answer := rpc.CriuReqType_NOTIFY
		req = &rpc.CriuReq{Type: &answer, NotifySuccess: proto.Bool(hookErr == nil)}
	}
}

// logTail returns the last error lines of a log; the first one is often only about a limit that CRIU could not raise.
func (w *Worker) logTail(name string) string {
	if w.cfg.Dir == "" {
		return ""
	}
	b, err := os.ReadFile(filepath.Join(w.cfg.Dir, name))
	if err != nil {
		return ""
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if strings.Contains(line, "Error") && !strings.Contains(line, "RLIMIT_NOFILE") {
			lines = append(lines, line)
		}
	}
	const most = 4
	return strings.Join(lines[max(0, len(lines)-most):], "; ")
}
