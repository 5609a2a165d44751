package container

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/node"
)

func itoa(n int) string { return strconv.Itoa(n) }

// halfStart does what Start does up to the point where init waits.
func (h *host) halfStart(c cluster.Container) *libcontainer.Container {
	h.t.Helper()
	rec, err := readRecord(h.r.confPath(c.CTID))
	h.must(err)
	rec.Spec, rec.RunGen = c, c.RunGen
	h.must(writeRecord(h.r.confPath(c.CTID), rec))
	h.must(h.r.mountRoot(c.CTID, h.r.rootDir(c.CTID)))
	h.must(h.r.makeDevices(c.CTID, c.IDBase))
	lc, err := libcontainer.Create(h.r.stateRoot(), c.CTID, h.r.config(c))
	h.must(err)
	p := &libcontainer.Process{Args: initArgs(c), Env: initEnv(c.CTID), Cwd: "/", Init: true}
	h.must(lc.Start(p))
	go func() { _, _ = p.Wait() }()
	return lc
}

func TestExec(t *testing.T) {
	h := newHost(t)
	h.started(h.container("101"))
	for _, tc := range []struct {
		name, script, in, out, err string
		code                       int
	}{
		{"exit code", "exit 7", "", "", "", 7},
		{"signal", "kill -TERM $$", "", "", "", 128 + 15},
		{"streams", "cat; echo err >&2", "in\n", "in\n", "err\n", 0},
		{"end of input", "cat | cat", "", "", "", 0},
		{"environment", "echo $HOME $PATH $X", "", "/root /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin y\n", "", 0},
		{"a daemon left behind", "sleep 1000 & echo done", "", "done\n", "", 0},
		{"much", "head -c 3000000 /dev/zero", "", strings.Repeat("\x00", 3000000), "", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code, err := h.r.Exec(t.Context(), "101", node.ExecSpec{Argv: []string{"sh", "-c", tc.script}, Env: []string{"X=y"},
				Stdin: strings.NewReader(tc.in), Stdout: &out, Stderr: &errs})
			if err != nil || code != tc.code || out.String() != tc.out || errs.String() != tc.err {
				t.Errorf("code %d, %v, out %.100q, err %.100q", code, err, out.String(), errs.String())
			}
		})
	}
	var errs bytes.Buffer
	for name, want := range map[string]int{"nosuch": 127, "/etc/passwd": 126, "/no/such": 127} {
		if code, err := h.r.Exec(t.Context(), "101", node.ExecSpec{Argv: []string{name}, Stderr: &errs}); code != want || err != nil {
			t.Errorf("%s: %d %v", name, code, err)
		}
	}
	if !strings.Contains(errs.String(), "nosuch: not found") {
		t.Errorf("stderr: %q", errs.String())
	}
	// A stdin that never ends does not keep the caller.
	pr, pw := io.Pipe()
	defer pw.Close()
	if code, err := h.r.Exec(t.Context(), "101", node.ExecSpec{Argv: []string{"true"}, Stdin: pr}); code != 0 || err != nil {
		t.Errorf("open stdin: %d %v", code, err)
	}
	if _, err := h.r.Exec(t.Context(), "101", node.ExecSpec{}); err == nil {
		t.Error("no command, no error")
	}
}

// syncBuffer is a buffer that may be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// slowWriter takes longer for what it gets than output is waited for.
type slowWriter struct{ n int }

func (s *slowWriter) Write(p []byte) (int, error) {
	wait(context.Background(), 30*time.Millisecond)
	s.n += len(p)
	return len(p), nil
}

// Output is delivered in full, however slowly the caller takes it.
func TestExecSlowReader(t *testing.T) {
	h := newHost(t)
	h.started(h.container("101"))
	for _, tty := range []bool{false, true} {
		var w slowWriter
		if code, err := h.r.Exec(t.Context(), "101", node.ExecSpec{Argv: []string{"head", "-c", "600000", "/dev/zero"}, Stdout: &w, TTY: tty}); code != 0 ||
			err != nil || w.n != 600000 {
			t.Errorf("tty %t: %d bytes, code %d, %v", tty, w.n, code, err)
		}
	}
}

func TestExecSignalAndCancel(t *testing.T) {
	h := newHost(t)
	h.started(h.container("101"))
	var out syncBuffer
	sigs := make(chan int, 1)
	done := make(chan int, 1)
	go func() {
		code, err := h.r.Exec(t.Context(), "101", node.ExecSpec{Signal: sigs, Stdout: &out,
			Argv: []string{"sh", "-c", "trap 'exit 5' USR1; echo ready; while :; do sleep 0.01; done"}})
		if err != nil {
			t.Error(err)
		}
		done <- code
	}()
	eventually(t, "ready", func() bool { return strings.Contains(out.String(), "ready") })
	if n := h.r.Sessions("101"); n != 1 {
		t.Errorf("%d sessions", n)
	}
	sigs <- int(unix.SIGUSR1)
	if code := <-done; code != 5 {
		t.Errorf("code %d", code)
	}
	if n := h.r.Sessions("101"); n != 0 {
		t.Errorf("%d sessions", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := h.r.Exec(ctx, "101", node.ExecSpec{Argv: []string{"sleep", "1000"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("cancelled: %v", err)
	}
	eventually(t, "the process is killed", func() bool { return !strings.Contains(h.sh("101", "ps"), "sleep 1000\n") })
}

func TestExecTTY(t *testing.T) {
	h := newHost(t)
	h.started(h.container("101"))
	resize := make(chan [2]uint16, 2)
	resize <- [2]uint16{33, 77}
	pr, pw := io.Pipe()
	var out syncBuffer
	done := make(chan int, 1)
	go func() {
		code, err := h.r.Exec(t.Context(), "101", node.ExecSpec{Argv: []string{"sh", "-i"}, TTY: true, Resize: resize, Stdin: pr, Stdout: &out})
		if err != nil {
			t.Error(err)
		}
		done <- code
	}()
	say := func(s string) { _, _ = io.WriteString(pw, s) }
	say("stty size; echo $TERM; ls /dev/pts\n")
	eventually(t, "first size", func() bool { return strings.Contains(out.String(), "33 77") })
	resize <- [2]uint16{40, 100}
	eventually(t, "second size", func() bool {
		say("stty size\n")
		wait(t.Context(), 20*time.Millisecond)
		return strings.Contains(out.String(), "40 100")
	})
	say("exit 9\n")
	if code := <-done; code != 9 {
		t.Errorf("code %d", code)
	}
	if !strings.Contains(out.String(), "xterm") {
		t.Errorf("output: %q", out.String())
	}
	_ = pw.Close()
	// The end of input is told as a terminal tells it.
	if code, err := h.r.Exec(t.Context(), "101", node.ExecSpec{Argv: []string{"cat"}, TTY: true, Stdin: strings.NewReader("")}); code != 0 || err != nil {
		t.Errorf("cat: %d %v", code, err)
	}
	if code, err := h.r.Exec(t.Context(), "101", node.ExecSpec{Argv: []string{"nosuch"}, TTY: true, Stdout: &out}); code != 127 || err != nil ||
		!strings.Contains(out.String(), "nosuch: not found") {
		t.Errorf("nosuch: %d %v", code, err)
	}
}
