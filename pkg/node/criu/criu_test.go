package criu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/checkpoint-restore/go-criu/v7/rpc"
	"google.golang.org/protobuf/proto"
)

// TestMain makes this binary a stand-in for CRIU when it is started as one: the log file that is asked for tells it what to do.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "swrk" {
		standIn()
		return
	}
	os.Exit(m.Run())
}

func standIn() {
	c, err := net.FileConn(os.NewFile(3, "socket"))
	if err != nil || os.Args[3] != "--no-default-config" {
		os.Exit(2)
	}
	buf := make([]byte, 64<<10)
	read := func() *rpc.CriuReq {
		n, err := c.Read(buf)
		req := &rpc.CriuReq{}
		if err != nil || proto.Unmarshal(buf[:n], req) != nil {
			os.Exit(3)
		}
		return req
	}
	write := func(r *rpc.CriuResp) {
		b, _ := proto.Marshal(r)
		_, _ = c.Write(b)
	}
	notify := func(p Point) bool {
		write(&rpc.CriuResp{Type: rpc.CriuReqType_NOTIFY.Enum(), Success: proto.Bool(true),
			Notify: &rpc.CriuNotify{Script: proto.String(string(p)), Pid: proto.Int32(42)}})
		return read().GetNotifySuccess()
	}
	req := read()
	ok := true
	switch script := req.GetOpts().GetLogFile(); script {
	case "hang":
		child := exec.Command("sleep", "300")
		_ = child.Start()
		time.Sleep(time.Hour)
	case "leave":
		child := exec.Command("sleep", "300")
		child.Stdin = os.NewFile(3, "socket") // it keeps the socket open
		_ = child.Start()
		os.Exit(1)
	case "crash":
		os.Exit(1)
	case "fail":
		ok = false
	default:
		ok = notify(PreRestore) && notify("something-new") && notify(PostRestore)
	}
	t := req.GetType()
	write(&rpc.CriuResp{Type: &t, Success: &ok})
}

func startStandIn(t *testing.T) (*Worker, string) {
	t.Helper()
	dir := t.TempDir()
	w, err := Start(Config{Path: "/proc/self/exe", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Kill)
	return w, dir
}

func script(s string) *rpc.CriuOpts {
	return &rpc.CriuOpts{LogFile: proto.String(s), ImagesDirFd: proto.Int32(-1)}
}

func TestHooks(t *testing.T) {
	broken := errors.New("broken")
	for _, fail := range []Point{"", PreRestore, PostRestore} {
		w, dir := startStandIn(t)
		var seen []Point
		hook := func(p Point) Hook {
			return func(_ context.Context, pid int) error {
				seen = append(seen, p)
				if pid != 42 {
					t.Errorf("pid %d", pid)
				}
				if p == fail {
					return broken
				}
				return nil
			}
		}
		err := w.Restore(context.Background(), script(""), Hooks{PreRestore: hook(PreRestore), PostRestore: hook(PostRestore)})
		if fail == "" && err != nil || fail != "" && !errors.Is(err, broken) {
			t.Errorf("failing at %q: %v", fail, err)
		}
		if want := map[Point]int{"": 2, PreRestore: 1, PostRestore: 2}[fail]; len(seen) != want {
			t.Errorf("failing at %q: saw %v", fail, seen)
		}
		if _, err := os.Stat(filepath.Join(dir, pidFile)); err == nil {
			t.Error("the pid file is left")
		}
	}
}

func TestFailures(t *testing.T) {
	for _, s := range []string{"crash", "fail", "leave"} {
		w, _ := startStandIn(t)
		var e *Error
		if err := w.Dump(context.Background(), script(s), nil); !errors.As(err, &e) || e.Op != "dump" {
			t.Errorf("%s: %v", s, err)
		}
		for _, p := range processes() {
			if p.session == w.Pid() {
				t.Errorf("%s: process %d is left", s, p.pid)
			}
		}
	}
}

func TestLogTail(t *testing.T) {
	w, dir := startStandIn(t)
	log := "(00.1) Error (criu/x.c:1): rlimit: Can't setup RLIMIT_NOFILE for self\n(00.2) harmless\n(00.3) Error (criu/y.c:2): really bad\n"
	if err := os.WriteFile(filepath.Join(dir, "dump.log"), []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := w.logTail("dump.log"); got != "(00.3) Error (criu/y.c:2): really bad" {
		t.Errorf("tail %q", got)
	}
}

func TestDeadlineKillsTheTree(t *testing.T) {
	w, _ := startStandIn(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	below := make(chan []int, 1)
	go func() {
		defer cancel()
		d := descendants(w.Pid())
		for deadline := time.Now().Add(10 * time.Second); len(d) == 0 && time.Now().Before(deadline); d = descendants(w.Pid()) {
			time.Sleep(time.Millisecond)
		}
		below <- d
	}()
	if err := w.Restore(ctx, script("hang"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("restore: %v", err)
	}
	left := <-below
	if len(left) == 0 {
		t.Error("it never had a child")
	}
	for _, p := range left {
		if _, err := startTime(p); err == nil {
			t.Errorf("process %d is left", p)
		}
	}
}

func TestStaleWorker(t *testing.T) {
	w, dir := startStandIn(t)
	short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := AwaitStale(short, dir); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("await a living one: %v", err)
	}
	if err := KillStale(context.Background(), dir); err != nil {
		t.Error(err)
	}
	<-w.ended
	if err := errors.Join(KillStale(context.Background(), dir), AwaitStale(context.Background(), dir)); err != nil {
		t.Error(err)
	}
	// A pid that is another process's by now, and nonsense, are left alone.
	for _, s := range []string{fmt.Sprintf("%d 1\n", os.Getpid()), "nonsense", "-1 -1", ""} {
		if err := os.WriteFile(filepath.Join(dir, pidFile), []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := KillStale(context.Background(), dir); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestProbeOfWhatIsNoCRIU(t *testing.T) {
	for _, path := range []string{"/bin/true", "/nonexistent"} {
		if _, err := Probe(context.Background(), path); err == nil {
			t.Errorf("%s passes", path)
		}
	}
}

func TestProbe(t *testing.T) {
	path := os.Getenv("VZ_CRIU")
	if path == "" {
		path = "/opt/vz/criu/bin/criu"
	}
	if _, err := os.Stat(path); err != nil || os.Geteuid() != 0 {
		t.Skipf("needs root and %s (make deps)", path)
	}
	info, err := Probe(context.Background(), path)
	if err != nil || info.Number < MinVersion || !strings.HasPrefix(info.Version, "4.") {
		t.Errorf("%+v, %v", info, err)
	}
}
