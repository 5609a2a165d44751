package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// shmSize bounds a container's /dev and /dev/shm together. What is in them is charged to its memory cgroup.
const shmSize = "64m"

type deviceNode struct {
	name         string
	major, minor uint32
}

var deviceNodes = []deviceNode{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}}

var deviceLinks = [][2]string{{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
	{"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"}}

// makeDevices makes the container's /dev and /dev/shm, owned by its root, on a tmpfs of their own: RunDir itself may be mounted nodev,
// and device nodes work inside a user namespace only if the host made the file system. Idempotent.
func (r *Runtime) makeDevices(ctid string, idBase uint32) error {
	dir := r.deviceDir(ctid)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	mounted, err := mountinfo.Mounted(dir)
	if err != nil {
		return fmt.Errorf("make devices: %w", err)
	}
	if !mounted {
		// Without restricting flags: a user namespace may not drop them, and CRIU has to bind the mask with those that libcontainer gave
		// it. The binds in spec.go restrict.
		if err := unix.Mount("vzdev", dir, "tmpfs", 0, "mode=711,size="+shmSize); err != nil {
			return fmt.Errorf("make devices: mount: %w", err)
		}
		if err := unix.Mount("", dir, "", unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make devices: %w", err)
		}
	}
	root := int(idBase)
	mk := func(err error, path string, mode uint32, uid, gid int) error {
		if errors.Is(err, os.ErrExist) {
			return nil // left as it is: by now the container may have put a link to anywhere in its place
		}
		if err != nil {
			return fmt.Errorf("make device %s: %w", path, err)
		}
		if err := os.Lchown(path, uid, gid); err != nil {
			return fmt.Errorf("make device %s: %w", path, err)
		}
		return unix.Chmod(path, mode) // past the umask
	}
	for _, d := range []struct {
		path  string
		mode  uint32
		owner int
	}{{"dev", 0o755, root}, {"shm", 0o1777, root}, {"mask", 0o555, 0}, {"dev/pts", 0o755, root}, {"dev/shm", 0o1777, root}} {
		p := filepath.Join(dir, d.path)
		if err := mk(unix.Mkdir(p, d.mode), p, d.mode, d.owner, d.owner); err != nil {
			return err
		}
	}
	for _, n := range deviceNodes {
		p := filepath.Join(dir, "dev", n.name)
		if err := mk(unix.Mknod(p, unix.S_IFCHR|0o666, int(unix.Mkdev(n.major, n.minor))), p, 0o666, root, root); err != nil {
			return err
		}
	}
	fifo := filepath.Join(dir, "dev", "console")
	if err := mk(unix.Mkfifo(fifo, 0o620), fifo, 0o620, root, root); err != nil {
		return err
	}
	for _, l := range deviceLinks {
		p := filepath.Join(dir, "dev", l[1])
		err := os.Symlink(l[0], p)
		if err == nil {
			err = os.Lchown(p, root, root)
		}
		if err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("make device %s: %w", p, err)
		}
	}
	return nil
}

// removeDevices undoes makeDevices.
func (r *Runtime) removeDevices(ctid string) error {
	dir := r.deviceDir(ctid)
	if err := unmountAll(dir); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove devices: %w", err)
	}
	return nil
}

// mountRoot bind-mounts a directory, privately, at the container's mount point. CRIU wants the root to be a mount. Idempotent: what
// was mounted there before is unmounted.
func (r *Runtime) mountRoot(ctid, from string) error {
	at := r.mountPoint(ctid)
	if err := os.MkdirAll(at, 0o711); err != nil {
		return err
	}
	if err := unmountAll(at); err != nil {
		return err
	}
	if err := unix.Mount(from, at, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s at %s: %w", from, at, err)
	}
	if err := unix.Mount("", at, "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mount %s at %s: %w", from, at, err)
	}
	return nil
}

// unmountRoot undoes mountRoot.
func (r *Runtime) unmountRoot(ctid string) error {
	at := r.mountPoint(ctid)
	if err := unmountAll(at); err != nil {
		return err
	}
	if err := os.Remove(at); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove mount point: %w", err)
	}
	return nil
}

// unmountAll unmounts everything that is mounted at a path, lazily: a process may still be in it.
func unmountAll(path string) error {
	for range 64 {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		switch {
		case err == nil:
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
			return nil // not, or no longer, a mount point
		default:
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
	return fmt.Errorf("unmount %s: too many mounts on top of each other", path)
}
