package container

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/node"
)

// inside is set in the process that runs in namespaces of its own.
const inside = "VZ_CONTAINER_TEST_INSIDE"

// TestMain runs the tests in a mount and a network namespace of their own, so that they neither see nor touch the machine's.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "console-keeper" {
		fs := flag.NewFlagSet("console-keeper", flag.ExitOnError)
		socket, dir := fs.String("socket", "", ""), fs.String("log-dir", "", "")
		_ = fs.Parse(os.Args[2:])
		if err := RunConsoleKeeper(context.Background(), *socket, *dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	switch {
	case os.Geteuid() != 0:
		fmt.Println("containers need root: nothing is tested")
		os.Exit(0)
	case os.Getenv(inside) == "":
		os.Exit(runInside())
	}
	if err := setUp(); err != nil {
		fmt.Fprintln(os.Stderr, "set up the test's namespaces:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func runInside() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

const testBridge, testGateway = "vzbr0", "10.66.0.1"

// setUp makes /run a tmpfs, as on a real host, and a bridge.
func setUp() error {
	if err := unix.Mount("run", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = testBridge
	attrs.HardwareAddr = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	br := &netlink.Bridge{LinkAttrs: attrs}
	addr, err := netlink.ParseAddr(testGateway + "/24")
	if err != nil {
		return err
	}
	return errors.Join(netlink.LinkSetUp(lo), netlink.LinkAdd(br), netlink.AddrAdd(br, addr), netlink.LinkSetUp(br))
}

// host is a host with its runtime.
type host struct {
	t   *testing.T
	cfg Config
	r   *Runtime
	tar string
}

func newHost(t *testing.T) *host {
	t.Helper()
	base, err := os.MkdirTemp("/var/tmp", "vztest")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	run, err := os.MkdirTemp("/run", "vz")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(run, 0o755); err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, tar: filepath.Join(base, "busybox.tar")}
	h.cfg = Config{DataDir: base + "/vz", RunDir: run + "/vzcluster", CgroupParent: "vztest-" + filepath.Base(run), Bridge: testBridge,
		Gateway: testGateway, Nameservers: []string{"10.66.0.53"}, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	h.restart()
	if err := os.WriteFile(h.tar, busybox(t), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cs, err := h.r.Copies(context.Background())
		if err != nil {
			t.Error(err)
		}
		for _, c := range cs {
			if err := h.r.Remove(context.Background(), c.CTID, c.Epoch); err != nil {
				t.Error(err)
			}
		}
		if err := RemoveCgroupParent(h.cfg.CgroupParent); err != nil {
			t.Error(err)
		}
		if err := errors.Join(os.RemoveAll(base), os.RemoveAll(run)); err != nil {
			t.Error(err)
		}
	})
	return h
}

// restart makes a new runtime, as a new agent would.
func (h *host) restart() {
	h.t.Helper()
	r, err := New(h.cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	h.r = r
}

// run runs the runtime's loops until the end of the test or the call of stop.
func (h *host) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	r := h.r
	go func() { done <- r.Run(ctx) }()
	stop = func() {
		if cancel == nil {
			return
		}
		cancel()
		cancel = nil
		if err := <-done; !errors.Is(err, context.Canceled) {
			h.t.Errorf("Run: %v", err)
		}
	}
	h.t.Cleanup(stop)
	return stop
}

func (h *host) container(ctid string) cluster.Container {
	return cluster.Container{
		CTID: ctid, Epoch: 1, SpecGen: 1, RunGen: 1, IDBase: 1000000 + 65536, Want: cluster.WantRunning, StopTimeout: 20 * time.Second,
		Spec: cluster.Spec{Template: "busybox", Hostname: "bb" + ctid + ".test",
			Resources: cluster.Resources{CPUMilli: 500, MemoryBytes: 64 << 20, DiskBytes: 1 << 30}},
	}
}

// started creates and starts a container.
func (h *host) started(c cluster.Container) {
	h.t.Helper()
	h.must(h.r.Create(h.t.Context(), c, h.tar))
	h.must(h.r.Start(h.t.Context(), c))
}

func (h *host) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// sh runs a shell command in a container and returns its output.
func (h *host) sh(ctid, script string) string {
	h.t.Helper()
	var out bytes.Buffer
	code, err := h.r.Exec(h.t.Context(), ctid, node.ExecSpec{Argv: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out})
	if err != nil || code != 0 {
		h.t.Fatalf("%s: code %d, %v: %s", script, code, err, out.String())
	}
	return strings.TrimSpace(out.String())
}

func (h *host) copyOf(ctid string) node.Copy {
	h.t.Helper()
	cs, err := h.r.Copies(h.t.Context())
	h.must(err)
	for _, c := range cs {
		if c.CTID == ctid {
			return c
		}
	}
	return node.Copy{}
}

// eventually waits for something that another process does.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
		wait(context.Background(), 5*time.Millisecond)
	}
}

// busybox is a template: the smallest system container there is.
func busybox(t *testing.T) []byte {
	t.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("busybox is not installed: make deps")
	}
	bin, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, body []byte) {
		h.Size = int64(len(body))
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(w, bytes.NewReader(body)); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"./", "./bin/", "./sbin/", "./dev/", "./proc/", "./sys/", "./etc/", "./root/", "./tmp/"} {
		add(tar.Header{Name: d, Typeflag: tar.TypeDir}, nil)
	}
	add(tar.Header{Name: "./bin/busybox", Typeflag: tar.TypeReg}, bin)
	for _, a := range strings.Fields("sh cat ls id sleep echo touch mount ip stty kill ps hostname dd mknod stat printf seq true head date") {
		add(tar.Header{Name: "./bin/" + a, Typeflag: tar.TypeSymlink, Linkname: "/bin/busybox"}, nil)
	}
	add(tar.Header{Name: "./sbin/init", Typeflag: tar.TypeSymlink, Linkname: "/bin/busybox"}, nil)
	add(tar.Header{Name: "./etc/inittab", Typeflag: tar.TypeReg, Mode: 0o644},
		[]byte("::sysinit:/bin/echo hello from init\n::respawn:/bin/sleep 100000\n::shutdown:/bin/touch /halted\n"))
	add(tar.Header{Name: "./etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644, Uid: 3, Gid: 4}, []byte("root:x:0:0::/root:/bin/sh\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
