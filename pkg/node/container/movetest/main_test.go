package movetest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vzcluster/vzcluster/pkg/node/container"
)

// stage tells a re-executed test binary what it is.
const stage = "VZ_MOVETEST_STAGE"

// TestMain runs the tests as a child of pid 1 of a new pid namespace, with new mount and network namespaces: whatever a failed test leaves
// behind goes with them.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 4 && os.Args[1] == "console-keeper":
		exitOn(container.RunConsoleKeeper(context.Background(), os.Args[2], os.Args[3]))
	case os.Getenv(stage) == "host":
		exitOn(serveHost(os.Args[1:]))
	case os.Getenv(stage) == "tests":
		code := m.Run()
		exitOn(cleanCgroups())
		os.Exit(code)
	case os.Getenv(stage) == "init":
		os.Exit(runInit())
	case os.Geteuid() != 0:
		fmt.Println("SKIP: moving containers needs root")
		return
	}
	cmd := again("init")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	if err := cmd.Run(); err != nil {
		os.Exit(max(cmd.ProcessState.ExitCode(), 1))
	}
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "movetest:", err)
		os.Exit(1)
	}
}

func again(next string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), stage+"="+next)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}

// runInit is pid 1: it collects orphans, which restored containers are once their CRIU has ended.
func runInit() int {
	for _, m := range []struct {
		source, target, fs string
		flags              uintptr
	}{{"", "/", "", unix.MS_REC | unix.MS_PRIVATE}, {"proc", "/proc", "proc", 0}, {"tmpfs", "/run", "tmpfs", 0}} {
		if err := unix.Mount(m.source, m.target, m.fs, m.flags, ""); err != nil {
			fmt.Fprintln(os.Stderr, "movetest: mount", m.target, err)
			return 1
		}
	}
	cmd := again("tests")
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "movetest:", err)
		return 1
	}
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		if err != nil && err != unix.EINTR {
			return 1
		}
		if pid == cmd.Process.Pid {
			return ws.ExitStatus()
		}
	}
}
