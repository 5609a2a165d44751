package rootsync

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Bounds of a path on the wire, in bytes and levels.
const (
	maxPath  = 4096
	maxName  = 255
	maxDepth = 256
)

// CheckPath refuses everything that is not a plain relative path. Names may hold any bytes but '/' and NUL.
func CheckPath(path string) error {
	if path == "" || len(path) > maxPath {
		return fmt.Errorf("path of %d bytes", len(path))
	}
	depth := 0
	for name := range strings.SplitSeq(path, "/") {
		depth++
		switch {
		case name == "" || name == "." || name == "..":
			return fmt.Errorf("path %q: forbidden name %q", path, name)
		case len(name) > maxName:
			return fmt.Errorf("path %q: name of %d bytes", path, len(name))
		case strings.IndexByte(name, 0) >= 0:
			return fmt.Errorf("path %q: NUL byte", path)
		case depth > maxDepth:
			return fmt.Errorf("path of more than %d levels", maxDepth)
		}
	}
	return nil
}

func split(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// beneath opens path below dirfd without following any symbolic link, in the middle or at the end, and without leaving the mount.
func beneath(dirfd int, path string, flags uint64) (int, error) {
	if path == "" {
		path = "."
	}
	how := unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	for {
		fd, err := unix.Openat2(dirfd, path, &how)
		// EAGAIN: a rename raced with the resolution; the kernel could not prove that it stayed beneath.
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		return fd, err
	}
}

// gone tells whether err means that a name is not there any more, or is something else by now.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ESTALE)
}
