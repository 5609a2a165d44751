package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// cgroupName is the cgroup that everything of a lab is below, in every hierarchy.
func cgroupName(lab string) string { return "vzlab-" + lab }

// CgroupParent is the cgroup for a host's containers, from the root of each hierarchy.
func (l *Lab) CgroupParent(host string) string { return "/" + cgroupName(l.name) + "/" + host }

// cgroupMounts lists where the cgroup hierarchies are mounted, v1 and v2.
func cgroupMounts() ([]string, error) {
	ms, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil, fmt.Errorf("find cgroups: %w", err)
	}
	var out []string
	for _, m := range ms {
		out = append(out, m.Mountpoint)
	}
	return out, nil
}

// cgroupDirs lists the directories of a cgroup and of those below it, in all hierarchies, the deepest first.
func cgroupDirs(name string) ([]string, error) {
	mounts, err := cgroupMounts()
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, m := range mounts {
		var tree []string
		err := filepath.WalkDir(filepath.Join(m, name), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // removed meanwhile
			}
			if err == nil && d.IsDir() {
				tree = append(tree, path)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("list cgroups: %w", err)
		}
		for i := len(tree) - 1; i >= 0; i-- {
			dirs = append(dirs, tree[i])
		}
	}
	return dirs, nil
}

// killCgroups kills every process below a cgroup and then thaws it.
func killCgroups(name string) error {
	dirs, err := cgroupDirs(name)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		for _, pid := range cgroupPids(dir) {
			unix.Kill(pid, unix.SIGKILL) //nolint:errcheck // ESRCH: it is dead, which is the aim
		}
	}
	for _, dir := range dirs {
		file := filepath.Join(dir, "freezer.state") // cgroup v1; v2 kills frozen processes as they are
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err != nil {
			if gone(err) {
				continue
			}
			return fmt.Errorf("thaw: %w", err)
		}
		_, err = f.WriteString("THAWED")
		if err := errors.Join(err, f.Close()); err != nil && !gone(err) {
			return fmt.Errorf("thaw: %w", err)
		}
	}
	return nil
}

func cgroupPids(dir string) []int {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil
	}
	var pids []int
	for _, f := range strings.Fields(string(data)) {
		if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// removeCgroups removes a cgroup and those below it in all hierarchies, killing what is still in them.
func removeCgroups(name string) error {
	var last error
	for deadline := time.Now().Add(powerTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		dirs, err := cgroupDirs(name)
		if err != nil {
			return err
		}
		last = nil
		for _, dir := range dirs {
			if err := unix.Rmdir(dir); err != nil && !gone(err) {
				last = fmt.Errorf("remove cgroup %s: %w", dir, err)
			}
		}
		if last == nil {
			return nil
		}
		if err := killCgroups(name); err != nil {
			return err
		}
	}
	return last
}

// gone tells whether an error says that a file or a cgroup is no more.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}
