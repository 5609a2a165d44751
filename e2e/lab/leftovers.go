package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Leftovers lists, in words, every process, mount, network namespace, link, cgroup and file of a lab that exists now. Logs that
// were kept on request are none. It looks at the machine, not at the lab's state: after Down it must find nothing. With an
// empty dir the state directory is DefaultDir.
func Leftovers(name, dir string) ([]string, error) {
	cfg, err := Config{Name: name, Dir: dir}.withDefaults()
	if err != nil {
		return nil, err
	}
	pids, err := allPids()
	if err != nil {
		return nil, err
	}
	out := leftProcesses(cfg.Name, pids)
	out = append(out, leftMounts(cfg.Dir, pids)...)
	nets, err := leftNetworks(cfg.Name, pids)
	if err != nil {
		return nil, err
	}
	out = append(out, nets...)
	dirs, err := cgroupDirs(cgroupName(cfg.Name))
	if err != nil {
		return nil, err
	}
	for _, d := range dirs {
		out = append(out, "cgroup "+d)
	}
	entries, err := os.ReadDir(cfg.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	for _, e := range entries {
		if e.Name() != logsDir {
			out = append(out, "file "+filepath.Join(cfg.Dir, e.Name()))
		}
	}
	return out, nil
}

func leftProcesses(name string, pids []int) []string {
	var out []string
	inCgroup := "/" + cgroupName(name) + "/"
	for _, pid := range pids {
		if procState(pid) == 'Z' {
			continue // all that is left of it is an exit status, which its parent has yet to read
		}
		args := cmdline(pid)
		cgroups, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid)) // gone meanwhile: no leftover
		if slices.Contains(args, keeperMark(name)) || strings.Contains(string(cgroups), inCgroup) {
			out = append(out, fmt.Sprintf("process %d: %s", pid, strings.Join(args, " ")))
		}
	}
	return out
}

// leftMounts looks for the state directory in the mount table of every mount namespace.
func leftMounts(dir string, pids []int) []string {
	var out []string
	seen := make(map[string]bool)
	for _, pid := range pids {
		ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
		if err != nil || seen[ns] {
			continue
		}
		seen[ns] = true
		table, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(table)) {
			if strings.Contains(line, dir+"/") {
				out = append(out, fmt.Sprintf("mount of process %d: %s", pid, strings.TrimSpace(line)))
			}
		}
	}
	return out
}

// leftNetworks looks for marked devices in every network namespace that a process, a descriptor or a mount holds.
func leftNetworks(name string, pids []int) ([]string, error) {
	var out []string
	mark := netMark(name, "")
	seen := make(map[uint64]bool)
	look := func(path, holder string) error {
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil || seen[st.Ino] {
			return nil
		}
		seen[st.Ino] = true
		aliases, err := aliasesAt(path)
		if err != nil {
			return fmt.Errorf("look into network namespace of %s: %w", holder, err)
		}
		for _, a := range aliases {
			if strings.HasPrefix(a, mark) {
				out = append(out, fmt.Sprintf("network namespace %s held by %s", a, holder))
			}
		}
		return nil
	}
	var errs []error
	for _, pid := range pids {
		holder := fmt.Sprintf("process %d", pid)
		errs = append(errs, look(fmt.Sprintf("/proc/%d/ns/net", pid), holder))
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, fd := range fds {
			if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "net:[") {
				errs = append(errs, look(fd, holder))
			}
		}
	}
	named, _ := filepath.Glob("/run/netns/*")
	for _, n := range named {
		errs = append(errs, look(n, n))
	}
	return out, errors.Join(errs...)
}

// aliasesAt returns the aliases of all devices in a network namespace; none when the namespace is gone.
func aliasesAt(path string) ([]string, error) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, nil
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, err
	}
	var out []string
	for _, l := range links {
		if l.Attrs().Alias != "" {
			out = append(out, l.Attrs().Alias)
		}
	}
	return out, nil
}
