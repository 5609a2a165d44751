package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is one daemon of a host as its keeper knows it.
type Process struct {
	Role    string    `json:"role"`
	Argv    []string  `json:"argv"`
	Pid     int       `json:"pid"` // in the host's pid namespace
	Running bool      `json:"running"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	// Exit says how it ended: "exit 1", "signal killed".
	Exit string `json:"exit,omitempty"`
}

// supervisor starts a host's daemons and reaps every process of the host.
type supervisor struct {
	spec keeperSpec

	mu    sync.Mutex // also held from fork until the child is in procs, so that the reaper knows every child it finds
	procs map[string]*child
}

// child is a daemon that was started.
type child struct {
	Process
	ended chan struct{} // closed when it is reaped
}

func newSupervisor(spec keeperSpec) *supervisor {
	return &supervisor{spec: spec, procs: make(map[string]*child)}
}

// start starts a daemon, unless the one of that role runs.
func (s *supervisor) start(d Daemon) (Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.procs[d.Role]; p != nil && p.Running {
		return p.Process, nil
	}
	if len(d.Argv) == 0 || d.Role == "" || filepath.Base(d.Role) != d.Role {
		return Process{}, fmt.Errorf("role %q: not a daemon", d.Role)
	}
	path, err := exec.LookPath(d.Argv[0])
	if err != nil {
		return Process{}, err
	}
	// Opened by the path that the log has inside: the state directory is seen from there as well.
	log, err := os.OpenFile(logPath(s.spec.Dir, s.spec.Host, d.Role), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return Process{}, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return Process{}, err
	}
	defer null.Close()
	fmt.Fprintf(log, "-- vzlab: start %s\n", strings.Join(d.Argv, " "))
	env := append(hostEnv(s.spec.Lab, s.spec.Host), s.spec.Env...)
	pid, err := syscall.ForkExec(path, d.Argv, &syscall.ProcAttr{
		Dir:   "/",
		Env:   append(env, d.Env...),
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return Process{}, fmt.Errorf("start %s: %w", path, err)
	}
	p := Process{Role: d.Role, Argv: d.Argv, Pid: pid, Running: true, Started: time.Now()}
	s.procs[d.Role] = &child{Process: p, ended: make(chan struct{})}
	return p, nil
}

// errNotRunning is returned for a signal to a daemon that does not run.
var errNotRunning = errors.New("it does not run")

// endTimeout is how long a daemon may take to end after a signal that ends it.
const endTimeout = 15 * time.Second

// signal sends a signal to a daemon alone, not to what it has started. After a signal that is meant to end it, it returns when
// the process is reaped, so that a start that follows starts it anew.
func (s *supervisor) signal(role string, sig syscall.Signal) error {
	p, err := s.send(role, sig)
	if err != nil || !slices.Contains([]syscall.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGINT, unix.SIGQUIT}, sig) {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(endTimeout):
		return fmt.Errorf("signal %s: still there %s after %s", role, endTimeout, sig)
	}
}

func (s *supervisor) send(role string, sig syscall.Signal) (*child, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.procs[role]
	if p == nil || !p.Running {
		return nil, fmt.Errorf("signal %s: %w", role, errNotRunning)
	}
	// The reaper needs the lock before it can free the pid: this cannot hit another process.
	if err := unix.Kill(p.Pid, sig); err != nil {
		return nil, fmt.Errorf("signal %s: %w", role, err)
	}
	return p, nil
}

func (s *supervisor) list() []Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Process, 0, len(s.procs))
	for _, p := range s.procs {
		out = append(out, p.Process)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Role < out[j].Role })
	return out
}

// reap collects every dead process of the host: the daemons, and orphans such as the containers of a killed agent.
func (s *supervisor) reap(ctx context.Context) error {
	chld := make(chan os.Signal, 1)
	signal.Notify(chld, unix.SIGCHLD)
	defer signal.Stop(chld)
	for {
		s.reapAll()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-chld:
		}
	}
}

func (s *supervisor) reapAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		for _, p := range s.procs {
			if p.Pid == pid && p.Running {
				p.Running, p.Ended, p.Exit = false, time.Now(), exitText(ws)
				close(p.ended)
			}
		}
	}
}

func exitText(ws unix.WaitStatus) string {
	if ws.Signaled() {
		return "signal " + ws.Signal().String()
	}
	return fmt.Sprintf("exit %d", ws.ExitStatus())
}

// hostEnv is the environment that a host's daemons start with: nothing of the caller's.
func hostEnv(lab, host string) []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LANG=C.UTF-8",
		"VZLAB_NAME=" + lab, "VZLAB_HOST=" + host,
	}
}
