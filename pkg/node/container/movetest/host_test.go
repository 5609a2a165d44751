package movetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate"
	"github.com/vzcluster/vzcluster/pkg/node"
	"github.com/vzcluster/vzcluster/pkg/node/container"
)

const cgroupParent = "vzmovetest"

func cleanCgroups() error {
	return errors.Join(container.RemoveCgroupParent(cgroupParent+"/a"),
		container.RemoveCgroupParent(cgroupParent+"/b"), container.RemoveCgroupParent(cgroupParent))
}

// Order is one call of a host's runtime.
type Order struct {
	Op    string
	A     migrate.Attempt
	Dir   string // images, template, file
	Epoch cluster.Epoch
	Argv  []string
	Limit time.Duration
}

// Reply is its outcome.
type Reply struct {
	Err    string
	Lost   bool
	Root   string
	Text   string
	Files  []string
	Code   int
	Copies []node.Copy
	Took   time.Duration
}

// Agent serves orders in the host's process.
type Agent struct{ r *container.Runtime }

// Do carries an order out.
func (g *Agent) Do(o Order, reply *Reply) error {
	ctx := context.Background()
	if o.Limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Limit)
		defer cancel()
	}
	begun := time.Now()
	err := g.do(ctx, o, reply)
	reply.Took = time.Since(begun)
	if err != nil {
		reply.Err, reply.Lost = err.Error(), errors.Is(err, migrate.ErrLost)
	}
	return nil
}

func (g *Agent) do(ctx context.Context, o Order, reply *Reply) (err error) {
	r := g.r
	switch o.Op {
	case "create":
		return r.Create(ctx, o.A.Container, o.Dir)
	case "start":
		return r.Start(ctx, o.A.Container)
	case "stop":
		return r.Stop(ctx, o.A.Container)
	case "remove":
		return r.Remove(ctx, o.A.Container.CTID, o.Epoch)
	case "copies":
		reply.Copies, err = r.Copies(ctx)
	case "usage":
		_, err = r.Usage(ctx, o.A.Container.CTID)
	case "exec":
		var out strings.Builder
		reply.Code, err = r.Exec(ctx, o.A.Container.CTID, node.ExecSpec{Argv: o.Argv, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out})
		reply.Text = out.String()
	case "console":
		var b []byte
		b, err = r.ConsoleTail(o.A.Container.CTID, 1<<20)
		reply.Text = string(b)
	case "preflight":
		return r.Preflight(ctx, o.A)
	case "mapped":
		reply.Files, err = r.MappedFiles(ctx, o.A)
	case "arm":
		return r.Arm(ctx, o.A)
	case "freeze":
		return r.Freeze(ctx, o.A)
	case "dump":
		return r.Dump(ctx, o.A, o.Dir)
	case "thaw":
		return r.Thaw(ctx, o.A)
	case "forward":
		return r.Forward(ctx, o.A)
	case "destroy":
		return r.Destroy(ctx, o.A)
	case "reserve":
		reply.Root, err = r.Reserve(ctx, o.A)
	case "import":
		return r.ImportConsoleLog(ctx, o.A, o.Dir)
	case "prepare":
		return r.Prepare(ctx, o.A)
	case "restore":
		return r.Restore(ctx, o.A, o.Dir)
	case "release":
		return r.Release(ctx, o.A, o.Epoch)
	case "discard":
		return r.Discard(ctx, o.A)
	case "sweep":
		return r.Sweep(ctx, nil)
	default:
		return fmt.Errorf("order %q", o.Op)
	}
	return err
}

// serveHost is the process of a host's agent: NAME DIR CRIU.
func serveHost(args []string) error {
	name, dir, criu := args[0], args[1], args[2]
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cfg := container.Config{DataDir: dir + "/vz", RunDir: "/run/vzcluster", CgroupParent: cgroupParent + "/" + name, CRIU: criu,
		Bridge: "br0", Gateway: "10.79.0.1", Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	cfg.ConsoleKeeper = []string{self, "console-keeper", cfg.RunDir + "/console.sock", cfg.DataDir + "/log"}
	r, err := container.New(cfg)
	if err != nil {
		return err
	}
	go func() { _ = r.Run(context.Background()) }()
	srv := rpc.NewServer()
	if err := srv.Register(&Agent{r}); err != nil {
		return err
	}
	sock := filepath.Join(dir, "sock")
	_ = os.Remove(sock)
	l, err := net.Listen("unix", sock)
	if err != nil {
		return err
	}
	if _, err := r.Info(context.Background()); err != nil {
		return err
	}
	fmt.Println("ready") // to the test
	srv.Accept(l)
	return nil
}

// host is one host as the test sees it.
type host struct {
	t     *testing.T
	name  string
	dir   string
	criu  string
	pause *exec.Cmd // holds the namespaces
	agent *exec.Cmd
	conn  *rpc.Client
}

func newHost(t *testing.T, name, criu string) *host {
	dir, err := os.MkdirTemp("/var/tmp", "vzmovetest-"+name)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, name: name, dir: dir, criu: criu}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	h.pause = exec.Command("sleep", "infinity")
	h.pause.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	if err := h.pause.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.killAgent()
		_ = h.pause.Process.Kill()
		_ = h.pause.Wait()
		shell(t, "ip link del up-%s", name) // the namespace goes a little later than the process
		_ = os.RemoveAll(dir)
	})
	up := "up-" + name
	shell(t, "ip link add %s type veth peer name up0 netns %d && ip link set %s master lan up", up, h.pause.Process.Pid, up)
	h.in("mount --make-rprivate / && mount -t tmpfs tmpfs /run && ip link set lo up && ip link add br0 address 02:00:00:00:79:%s type bridge forward_delay 0 && "+
		"ip link set br0 up && ip link set up0 master br0 up", map[string]string{"a": "0a", "b": "0b"}[name])
	h.startAgent()
	return h
}

// in runs a shell command in the host's namespaces.
func (h *host) in(format string, args ...any) string {
	h.t.Helper()
	return shell(h.t, "nsenter -t %d -m -n sh -ec '%s'", h.pause.Process.Pid, fmt.Sprintf(format, args...))
}

func shell(t *testing.T, format string, args ...any) string {
	t.Helper()
	cmd := fmt.Sprintf(format, args...)
	out, err := exec.Command("sh", "-ec", cmd).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", cmd, err, out)
	}
	return string(out)
}

func (h *host) startAgent() {
	h.t.Helper()
	self, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	h.agent = exec.Command("nsenter", "-t", strconv.Itoa(h.pause.Process.Pid), "-m", "-n", self, h.name, h.dir, h.criu)
	h.agent.Env = append(os.Environ(), stage+"=host")
	h.agent.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	h.agent.Stderr = testWriter{h}
	out, err := h.agent.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.agent.Start(); err != nil {
		h.t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		h.t.Fatalf("the agent of %s did not start: %v", h.name, err)
	}
	if h.conn, err = rpc.Dial("unix", filepath.Join(h.dir, "sock")); err != nil {
		h.t.Fatal(err)
	}
}

type testWriter struct{ h *host }

func (w testWriter) Write(b []byte) (int, error) {
	if testing.Verbose() {
		fmt.Fprintf(os.Stderr, "%s: %s", w.h.name, b)
	}
	return len(b), nil
}

func (h *host) killAgent() {
	if h.conn == nil {
		return
	}
	h.conn.Close()
	_ = h.agent.Process.Kill()
	_ = h.agent.Wait()
	h.conn = nil
}

// try carries an order out and returns its error.
func (h *host) try(o Order) (Reply, error) {
	h.t.Helper()
	var rep Reply
	if err := h.conn.Call("Agent.Do", o, &rep); err != nil {
		h.t.Fatalf("%s on %s: %v", o.Op, h.name, err)
	}
	if rep.Err != "" {
		return rep, errors.New(rep.Err)
	}
	return rep, nil
}

// must carries an order out that has to succeed.
func (h *host) must(op string, a migrate.Attempt, more ...func(*Order)) Reply {
	h.t.Helper()
	o := Order{Op: op, A: a, Limit: time.Minute}
	for _, f := range more {
		f(&o)
	}
	rep, err := h.try(o)
	if err != nil {
		h.t.Fatalf("%s on %s: %v", op, h.name, err)
	}
	return rep
}

func dir(d string) func(*Order)          { return func(o *Order) { o.Dir = d } }
func epoch(e cluster.Epoch) func(*Order) { return func(o *Order) { o.Epoch = e } }
func argv(a ...string) func(*Order)      { return func(o *Order) { o.Argv = a } }

// cgroupProcs counts the processes in the container's cgroups on this host.
func (h *host) cgroupProcs(ctid string) int {
	h.t.Helper()
	n := 0
	for _, root := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
		b, err := os.ReadFile(filepath.Join(root, cgroupParent, h.name, ctid, "cgroup.procs"))
		if err == nil {
			n += len(strings.Fields(string(b)))
		}
	}
	return n
}

// freezerState is the state of the container's freezer, of cgroup v1 or v2, in the words of v1.
func (h *host) freezerState(ctid string) string {
	h.t.Helper()
	if b, err := os.ReadFile(filepath.Join("/sys/fs/cgroup/freezer", cgroupParent, h.name, ctid, "freezer.state")); err == nil {
		return strings.TrimSpace(string(b))
	}
	b, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", cgroupParent, h.name, ctid, "cgroup.events"))
	if err != nil {
		return "GONE" // with its last process
	}
	if strings.Contains(string(b), "frozen 1") {
		return "FROZEN"
	}
	return "THAWED"
}
