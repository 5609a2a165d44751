package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// ownDirs are the directories that a host does not share with the machine.
var ownDirs = []string{"/vz", "/run", "/proc", "/sys"}

// ownRoot gives the calling process, alone in its mount namespace, a root where the machine's files are as they were but
// ownDirs are its own. It is a new root, not mounts over the old one, so that the machine needs no /vz to mount on.
func ownRoot(spec keeperSpec) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	root := filepath.Join(spec.Dir, spec.Host, "root")
	if err := mountTmpfs(root, "mode=0755"); err != nil {
		return err
	}
	// Unbindable while the machine's directories come in: one of them has this mount below it.
	if err := unix.Mount("", root, "", unix.MS_UNBINDABLE, ""); err != nil {
		return fmt.Errorf("new root: %w", err)
	}
	if err := bindMachine(root); err != nil {
		return err
	}
	if err := unix.Mount("", root, "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("new root: %w", err)
	}
	if err := bind(vzPath(spec.Dir, spec.Host), root+"/vz"); err != nil {
		return err
	}
	if err := mountTmpfs(root+"/run", "mode=0755"); err != nil {
		return err
	}
	lock := root + "/run/lock"
	if err := errors.Join(os.Mkdir(lock, 0o755), os.Chmod(lock, 0o777|os.ModeSticky)); err != nil {
		return fmt.Errorf("make /run/lock: %w", err)
	}
	if err := mountSys(root + "/sys"); err != nil {
		return err
	}
	if err := mountKernel("proc", root+"/proc"); err != nil {
		return err
	}
	if err := hostsFile(spec, root); err != nil {
		return err
	}
	return pivot(root)
}

// bindMachine brings all entries of / under root, except ownDirs.
func bindMachine(root string) error {
	entries, err := os.ReadDir("/")
	if err != nil {
		return fmt.Errorf("read /: %w", err)
	}
	own := make(map[string]bool)
	for _, d := range ownDirs {
		own[d] = true
	}
	for _, e := range entries {
		from := "/" + e.Name()
		to := root + from
		switch {
		case own[from]:
		case e.Type()&os.ModeSymlink != 0:
			target, err := os.Readlink(from)
			if err != nil {
				return fmt.Errorf("new root: %w", err)
			}
			if err := os.Symlink(target, to); err != nil {
				return fmt.Errorf("new root: %w", err)
			}
		case e.IsDir():
			if err := bind(from, to); err != nil {
				return err
			}
		}
	}
	return nil
}

// mountSys mounts a sysfs that shows the host's own network devices, with what the machine has mounted inside its own.
func mountSys(to string) error {
	if err := mountKernel("sysfs", to); err != nil {
		return err
	}
	inner, err := mountinfo.GetMounts(mountinfo.PrefixFilter("/sys"))
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	var points []string
	for _, m := range inner {
		if m.Mountpoint != "/sys" {
			points = append(points, m.Mountpoint)
		}
	}
	sort.Strings(points)
	last := ""
	for _, p := range points {
		if last != "" && (p == last || strings.HasPrefix(p, last+"/")) {
			continue // came with the mount above it
		}
		last = p
		err := unix.Mount(p, to+strings.TrimPrefix(p, "/sys"), "", unix.MS_BIND|unix.MS_REC, "")
		if errors.Is(err, unix.ENOENT) {
			continue // hidden by a mount over it
		}
		if err != nil {
			return fmt.Errorf("bind %s: %w", p, err)
		}
	}
	return nil
}

// hostsFile lets the lab's hosts find each other by name.
func hostsFile(spec keeperSpec, root string) error {
	if _, err := os.Stat(root + "/etc/hosts"); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n::1 localhost\n")
	for name, ip := range spec.Hosts {
		fmt.Fprintf(&b, "%s %s\n", ip, name)
	}
	file := root + "/run/hosts"
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("hosts file: %w", err)
	}
	if err := unix.Mount(file, root+"/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("hosts file: %w", err)
	}
	return nil
}

// pivot makes root the root and lets go of the old one.
func pivot(root string) error {
	if err := os.Chdir(root); err != nil {
		return fmt.Errorf("new root: %w", err)
	}
	// The old root lands on top of the new one and is taken off there: no directory for it is needed.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of the old root: %w", err)
	}
	return nil
}

func bind(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return fmt.Errorf("bind %s: %w", from, err)
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s: %w", from, err)
	}
	return nil
}

func mountTmpfs(to, options string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	if err := unix.Mount("vzlab", to, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", to, err)
	}
	return nil
}

func mountKernel(fstype, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return fmt.Errorf("mount %s: %w", fstype, err)
	}
	if err := unix.Mount(fstype, to, fstype, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount %s: %w", fstype, err)
	}
	return nil
}
