package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vzcluster/vzcluster/e2e/lab"
	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// machine says on what the figures were got.
func machine() string {
	kernel := "unknown kernel"
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		kernel = "Linux " + unix.ByteSliceToString(u.Release[:])
	}
	return fmt.Sprintf("%s, %d processors, load at start %s", kernel, runtime.NumCPU(), load())
}

// load is the machine's load average over 1, 5 and 15 minutes.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if f := strings.Fields(string(b)); err == nil && len(f) >= 3 {
		return strings.Join(f[:3], " ")
	}
	return "unknown"
}

// versions asks the programs that are compared; one that does not answer is left out.
func versions(ctx context.Context, l *lab.Lab) map[string]string {
	out := map[string]string{"vzcluster": cluster.Version}
	ask := "PATH=/opt/vz/criu/bin:$PATH; "
	for name, command := range map[string]string{"runc": "runc --version", "criu": "criu --version", "rsync": "rsync --version"} {
		b, err := l.Exec(ctx, hosts[0], "sh", "-c", ask+command)
		if line, _, _ := strings.Cut(string(b), "\n"); err == nil && line != "" {
			out[name] = strings.Join(strings.Fields(line), " ")
		}
	}
	return out
}
