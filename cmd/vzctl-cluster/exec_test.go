package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/proto/vzpb"
)

type execStream = grpc.BidiStreamingServer[vzpb.ExecRequest, vzpb.ExecResponse]

func stdoutMsg(s string) *vzpb.ExecResponse {
	return &vzpb.ExecResponse{Part: &vzpb.ExecResponse_Stdout{Stdout: []byte(s)}}
}

func stderrMsg(s string) *vzpb.ExecResponse {
	return &vzpb.ExecResponse{Part: &vzpb.ExecResponse_Stderr{Stderr: []byte(s)}}
}

func exitMsg(code int32) *vzpb.ExecResponse {
	return &vzpb.ExecResponse{Part: &vzpb.ExecResponse_ExitCode{ExitCode: code}}
}

// cat answers what it reads, and at the end of stdin the exit code.
func cat(code int32, started func(*vzpb.ExecRequest_Start)) func(execStream) error {
	return func(s execStream) error {
		for {
			r, err := s.Recv()
			if err != nil {
				return err
			}
			switch p := r.Part.(type) {
			case *vzpb.ExecRequest_Start_:
				started(p.Start)
			case *vzpb.ExecRequest_Stdin:
				if err := s.Send(stdoutMsg(string(p.Stdin))); err != nil {
					return err
				}
			case *vzpb.ExecRequest_StdinEof:
				if err := s.Send(stderrMsg("end\n")); err != nil {
					return err
				}
				return s.Send(exitMsg(code))
			}
		}
	}
}

func TestExec(t *testing.T) {
	for _, code := range []int32{0, 1, 42, 137, 255} {
		f := newFake(t)
		var start *vzpb.ExecRequest_Start
		f.exec = cat(code, func(s *vzpb.ExecRequest_Start) { start = s })
		var out, errs bytes.Buffer
		a := testApp(t, []string{f.addr})
		in := strings.Repeat("a line of stdin\n", 20000)
		a.in, a.out, a.err = strings.NewReader(in), &out, &errs
		if got := a.run(t.Context(), []string{"exec", "web", "-e", "A=1", "--cwd", "/tmp", "--", "cat", "-n", "--", "-j"}); got != int(code) {
			t.Errorf("exit %d, want %d", got, code)
		}
		if out.String() != in || errs.String() != "end\n" {
			t.Errorf("stdout %d bytes of %d, stderr %q", out.Len(), len(in), errs.String())
		}
		if start.Name != "web" || !slices.Equal(start.Argv, []string{"cat", "-n", "--", "-j"}) || start.Tty || !slices.Equal(start.Env, []string{"A=1"}) || start.Cwd != "/tmp" {
			t.Errorf("%v", start)
		}
	}
}

func TestExecJSON(t *testing.T) {
	f := newFake(t)
	f.exec = func(s execStream) error {
		_ = s.Send(stdoutMsg("{}\n"))
		_ = s.Send(stderrMsg("\xff"))
		return s.Send(exitMsg(3))
	}
	r := f.run(t, "exec", "web", "-j", "--", "x")
	if d := r.doc(t); r.code != 3 || r.err != "" || d["exit_code"] != 3.0 || d["stdout"] != "{}\n" || d["stderr_base64"] != "/w==" {
		t.Errorf("%d %q %v", r.code, r.err, d)
	}
	f.exec = func(s execStream) error {
		_ = s.Send(stdoutMsg(strings.Repeat("x", 3<<20)))
		for range 7 {
			_ = s.Send(stdoutMsg(strings.Repeat("x", 3<<20)))
		}
		return s.Send(exitMsg(0))
	}
	if d := f.run(t, "exec", "web", "-j", "--", "x").ok(t).doc(t); len(d["stdout"].(string)) != execLimit || d["stdout_truncated"] != true {
		t.Errorf("%d bytes", len(d["stdout"].(string)))
	}
}

func TestExecFails(t *testing.T) {
	for _, c := range []struct {
		err  error
		exit int
		name string
	}{
		{status.Error(codes.NotFound, "no container web"), 3, "NOT_FOUND"},
		{status.Error(codes.FailedPrecondition, "it is stopped"), 4, "CONFLICT"},
		{status.Error(codes.Unavailable, "node n1 does not answer"), 5, "UNREACHABLE"},
		{nil, 7, "UNKNOWN_OUTCOME"}, // ended without an exit code
	} {
		f := newFake(t)
		f.exec = func(execStream) error { return c.err }
		r := f.run(t, "exec", "web", "-j", "--", "x")
		r.fails(t, c.exit, c.name)
		if d := r.doc(t); d["code"] != c.name {
			t.Errorf("%v", d)
		}
	}
	f := newFake(t)
	f.exec = func(s execStream) error {
		_ = s.Send(stdoutMsg("x"))
		return status.Error(codes.Unavailable, "node gone")
	}
	f.run(t, "exec", "web", "--", "x").fails(t, 7, "UNKNOWN_OUTCOME", "may still run")
}

// TestExecSignal: without a terminal SIGTERM is the command's.
func TestExecSignal(t *testing.T) {
	f := newFake(t)
	f.exec = func(s execStream) error {
		if err := unix.Kill(os.Getpid(), unix.SIGTERM); err != nil {
			return err
		}
		for {
			r, err := s.Recv()
			if err != nil {
				return err
			}
			if p, ok := r.Part.(*vzpb.ExecRequest_Signal); ok {
				return s.Send(exitMsg(128 + p.Signal))
			}
		}
	}
	if r := f.run(t, "exec", "web", "-n", "--", "x"); r.code != 128+15 || r.err != "" {
		t.Errorf("%d %q", r.code, r.err)
	}
}

// openPty opens a pseudo terminal.
func openPty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close(); master.Close() })
	return master, slave
}

func resizePty(t *testing.T, f *os.File, rows, cols uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(f.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}); err != nil {
		t.Fatal(err)
	}
}

// TestExecTTY: the terminal is raw while the command runs (control-C is a byte), a change of its size is passed on, the exit code
// comes out, and the terminal is as before afterwards.
func TestExecTTY(t *testing.T) {
	master, slave := openPty(t)
	resizePty(t, master, 24, 80)
	before, err := term.GetState(int(slave.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	f := newFake(t)
	var start *vzpb.ExecRequest_Start
	var size *vzpb.ExecRequest_Resize
	f.exec = func(s execStream) error {
		first, err := s.Recv()
		if err != nil {
			return err
		}
		start = first.GetStart()
		if err := s.Send(stdoutMsg("$ ")); err != nil { // by now the terminal must be raw: the test types when it reads this
			return err
		}
		for typed := ""; ; {
			r, err := s.Recv()
			if err != nil {
				return err
			}
			if p := r.GetResize(); p != nil {
				size = p
				return s.Send(exitMsg(7))
			}
			if typed += string(r.GetStdin()); typed == "q\x03" {
				typed = ""
				resizePty(t, master, 50, 132)
				_ = unix.Kill(os.Getpid(), unix.SIGWINCH)
			}
		}
	}
	a := testApp(t, []string{f.addr})
	var errs bytes.Buffer
	a.in, a.out, a.err = slave, slave, &errs
	code := make(chan int, 1)
	go func() { code <- a.run(t.Context(), []string{"exec", "web", "-t", "--", "sh"}) }()
	buf := make([]byte, 2)
	if _, err := io.ReadFull(master, buf); err != nil || string(buf) != "$ " {
		t.Fatalf("%q, %v", buf, err)
	}
	awaitRaw(t, slave)
	if _, err := master.WriteString("q\x03"); err != nil {
		t.Fatal(err)
	}
	if got := <-code; got != 7 || errs.Len() != 0 {
		t.Errorf("exit %d, stderr %q", got, errs.String())
	}
	if !start.Tty || start.Size.GetRows() != 24 || start.Size.GetCols() != 80 {
		t.Errorf("start %v", start)
	}
	if size.GetRows() != 50 || size.GetCols() != 132 {
		t.Errorf("resize %v", size)
	}
	after, err := term.GetState(int(slave.Fd()))
	if err != nil || *after != *before {
		t.Errorf("the terminal was left changed (%v)", err)
	}
}

// awaitRaw waits until the terminal no longer makes a signal of control-C.
func awaitRaw(t *testing.T, f *os.File) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		tio, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		if tio.Lflag&unix.ISIG == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the terminal was never made raw")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestEnter(t *testing.T) {
	f := newFake(t)
	var start *vzpb.ExecRequest_Start
	f.exec = cat(5, func(s *vzpb.ExecRequest_Start) { start = s })
	if r := f.run(t, "enter", "web"); r.code != 5 || start.Tty || start.Argv[0] != "/bin/sh" {
		t.Errorf("%d %v", r.code, start)
	}
}

// TestTerminalOutput: on a terminal there is a bar, and destroy asks.
func TestTerminalOutput(t *testing.T) {
	master, slave := openPty(t)
	resizePty(t, master, 24, 120)
	var screen bytes.Buffer
	read := make(chan struct{})
	go func() { defer close(read); _, _ = io.Copy(&screen, master) }() // ends with an error when the terminal is closed

	f := migrateFake(t, moving("copy"), &vzpb.MigrationResponse{Json: mustJSON(moving("copy")), Progress: &vzpb.Progress{
		What: "round 2", DoneBytes: 3 << 20, TotalBytes: 8 << 20, DoneFiles: 4, TotalFiles: 9, RateBps: 1 << 20}}, moving("done", closed))
	a := testApp(t, []string{f.addr})
	a.err = slave
	if code := a.run(t.Context(), []string{"migrate", "web", "--to", "n2"}); code != 0 {
		t.Errorf("exit %d", code)
	}

	d := newFake(t).has(web())
	a = testApp(t, []string{d.addr})
	a.in, a.err = slave, slave
	if _, err := master.WriteString("n\n"); err != nil {
		t.Fatal(err)
	}
	if code := a.run(t.Context(), []string{"destroy", "web"}); code == 0 {
		t.Error("destroyed although the answer was no")
	}
	if _, n := last[*vzpb.ContainerOpRequest](d); n != 0 {
		t.Error("an order was sent")
	}
	slave.Close()
	<-read
	for _, w := range []string{"101 n1>n2 done", "[y/N]", "INTERRUPTED"} {
		if !strings.Contains(screen.String(), w) {
			t.Errorf("the screen lacks %q: %q", w, screen.String())
		}
	}
}

func TestBarText(t *testing.T) {
	b := &bar{}
	b.now = migrationDoc{Progress: &progressDoc{What: "round 2", DoneBytes: 3 << 20, TotalBytes: 8 << 20, DoneFiles: 4, TotalFiles: 9, RateBPS: 1 << 20}}
	if got := b.right(); got != " 3M/8M 4/9 files 1M/s ETA 5s round 2" {
		t.Errorf("%q", got)
	}
}
