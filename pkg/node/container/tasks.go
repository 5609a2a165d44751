package container

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// pids lists the processes in a container's cgroups.
func pids(m cgroups.Manager) ([]int, error) {
	all, err := m.GetAllPids()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	return all, err
}

// statusField returns the value of one line of /proc/PID/status.
func statusField(pid int, name string) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v), nil
		}
	}
	return "", fmt.Errorf("process %d has no %s", pid, name)
}

// namespacePid is the process's id in its innermost pid namespace; nested is how many namespaces deep that is.
func namespacePid(pid int) (id, nested int, err error) {
	v, err := statusField(pid, "NSpid")
	if err != nil {
		return 0, 0, err
	}
	f := strings.Fields(v)
	if len(f) == 0 {
		return 0, 0, fmt.Errorf("process %d has no id", pid)
	}
	id, err = strconv.Atoi(f[len(f)-1])
	return id, len(f), err
}

// findInit returns the process that is pid 1 of the container, 0 if there is none.
func findInit(all []int) int {
	for _, p := range all {
		// CRIU itself may still be among them: it is in no pid namespace of its own.
		if id, nested, err := namespacePid(p); err == nil && id == 1 && nested > 1 {
			return p
		}
	}
	return 0
}

func parentOf(pid int) (int, error) {
	v, err := statusField(pid, "PPid")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(v)
}

// mapping is one line of /proc/PID/maps.
type mapping struct {
	perms string
	inode uint64
	path  string // as the container sees it
}

func mappings(pid int) ([]mapping, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, err
	}
	var all []mapping
	for line := range bytes.Lines(b) {
		f := strings.SplitN(strings.TrimRight(string(line), "\n"), " ", 6)
		if len(f) < 5 {
			continue
		}
		m := mapping{perms: f[1]}
		m.inode, _ = strconv.ParseUint(f[4], 10, 64)
		if len(f) == 6 {
			m.path = unescapeMaps(strings.TrimLeft(f[5], " "))
		}
		all = append(all, m)
	}
	return all, nil
}

// unescapeMaps undoes the kernel's one escape in maps: a line feed.
func unescapeMaps(s string) string { return strings.ReplaceAll(s, `\012`, "\n") }
