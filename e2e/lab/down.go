package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
)

// DownOptions are the choices of Down.
type DownOptions struct {
	Dir      string // state directory; empty: DefaultDir
	KeepLogs bool   // leave Dir/logs
}

// Down takes a lab away: processes, namespaces, mounts, links, cgroups, files. It needs no working state file, may be repeated,
// and finds what a crashed Up left.
func (l *Lab) Down(ctx context.Context, keepLogs bool) error {
	return Down(ctx, l.name, DownOptions{Dir: l.dir, KeepLogs: keepLogs})
}

// Down is Lab.Down for a lab that may be up, half up, or not there at all.
func Down(ctx context.Context, name string, opt DownOptions) error {
	cfg, err := Config{Name: name, Dir: opt.Dir}.withDefaults()
	if err != nil {
		return err
	}
	unlock, err := lock(cfg.Dir)
	if errors.Is(err, ErrNotUp) {
		unlock, err = func() {}, nil // there may still be processes and cgroups
	}
	if err != nil {
		return err
	}
	defer unlock()
	if opt.KeepLogs {
		return clearAway(ctx, cfg, logsDir)
	}
	return clearAway(ctx, cfg)
}

// clearAway removes all of a lab but the given names in its state directory.
func clearAway(ctx context.Context, cfg Config, keep ...string) error {
	if err := killKeepers(ctx, cfg.Name); err != nil {
		return err
	}
	if err := removeCgroups(cgroupName(cfg.Name)); err != nil {
		return err
	}
	return removeDir(cfg.Dir, keep)
}

// keeperMark is the argument that a keeper's command line has for this lab only.
func keeperMark(lab string) string { return "--vzlab=" + lab }

// keepers finds the lab's hosts by their processes. Only pid 1 of a pid namespace can be one: what it has started shows
// the same arguments between fork and exec.
func keepers(lab string) ([]Host, error) {
	pids, err := allPids()
	if err != nil {
		return nil, err
	}
	var out []Host
	for _, pid := range pids {
		args := cmdline(pid)
		i := slices.Index(args, keeperMark(lab))
		if i < 0 || i+1 >= len(args) || !isNamespaceInit(pid) {
			continue
		}
		start, err := procStart(pid)
		if err != nil {
			continue // it has just ended
		}
		out = append(out, Host{Name: args[i+1], Pid: pid, PidStart: start})
	}
	return out, nil
}

// isNamespaceInit tells whether a process is pid 1 in a pid namespace below the machine's.
func isNamespaceInit(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "NSpid:"); ok {
			ids := strings.Fields(rest)
			return len(ids) > 1 && ids[len(ids)-1] == "1"
		}
	}
	return false
}

// killKeepers powers all hosts off, also those that are just being born.
func killKeepers(ctx context.Context, name string) error {
	for {
		hosts, err := keepers(name)
		if err != nil || len(hosts) == 0 {
			return err
		}
		for i := range hosts {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := killHost(name, &hosts[i]); err != nil {
				return fmt.Errorf("host %s: %w", hosts[i].Name, err)
			}
		}
	}
}

// removeDir removes a state directory. The mounts into it died with the hosts.
func removeDir(dir string, keep []string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove lab: %w", err)
	}
	if _, err := os.Stat(statePath(dir)); err != nil && !onlyLogs(entries) {
		return fmt.Errorf("remove lab: %s has no state.json: is it a lab's?", dir)
	}
	mounted, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return fmt.Errorf("remove lab: %w", err)
	}
	if len(mounted) > 0 {
		return fmt.Errorf("remove lab: %s is mounted", mounted[0].Mountpoint)
	}
	for _, e := range entries {
		// state.json goes last, so that a Down that was cut short can be repeated.
		if e.Name() == filepath.Base(statePath(dir)) || slices.Contains(keep, e.Name()) {
			continue
		}
		if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove lab: %w", err)
		}
	}
	if err := os.Remove(statePath(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove lab: %w", err)
	}
	if len(keep) > 0 {
		return nil
	}
	if err := os.Remove(dir); err != nil {
		return fmt.Errorf("remove lab: %w", err)
	}
	if parent := filepath.Dir(dir); parent == filepath.Dir(DefaultDir("x")) {
		os.Remove(parent) //nolint:errcheck // other labs may be in it
	}
	return nil
}

// removeTree is os.RemoveAll, again while a dying mount namespace still holds a mount in it.
func removeTree(path string) error {
	var err error
	for range 100 {
		if err = os.RemoveAll(path); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

// onlyLogs tells whether this is what a Down with KeepLogs, or an Up that had made nothing yet, left.
func onlyLogs(entries []fs.DirEntry) bool {
	for _, e := range entries {
		if e.Name() != logsDir && e.Name() != lockFile {
			return false
		}
	}
	return true
}
