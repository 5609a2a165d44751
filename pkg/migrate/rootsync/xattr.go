package rootsync

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vzcluster/vzcluster/proto/vzpb"
	"golang.org/x/sys/unix"
)

// maxXattrs is how many bytes of names and values one entry may have.
const maxXattrs = 64 << 10

// xattrAllowed: those that belong to a container's own files. trusted.*, security.selinux and security.ima belong to the host.
func xattrAllowed(name string) bool {
	switch name {
	case "security.capability", "system.posix_acl_access", "system.posix_acl_default":
		return true
	}
	return strings.HasPrefix(name, "user.") && len(name) <= maxName && strings.IndexByte(name, 0) < 0
}

// fdPath is a path to exactly the opened file, also for descriptors opened with O_PATH, on which the f*xattr calls don't work.
func fdPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

func xattrNames(fd int) ([]string, error) {
	buf := make([]byte, 1024)
	for {
		n, err := unix.Listxattr(fdPath(fd), buf)
		switch {
		case err == unix.ERANGE && len(buf) < maxXattrs:
			buf = make([]byte, maxXattrs)
			continue
		case err == unix.ENOTSUP, err == unix.EPERM:
			return nil, nil
		case err != nil:
			return nil, err
		case n == 0:
			return nil, nil
		}
		var out []string
		for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
			if name != "" && xattrAllowed(name) {
				out = append(out, name)
			}
		}
		return out, nil
	}
}

// readXattrs returns the xattrs of the opened file that may travel.
func readXattrs(fd int) ([]*vzpb.TransferEntry_Xattr, error) {
	names, err := xattrNames(fd)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	var out []*vzpb.TransferEntry_Xattr
	buf := make([]byte, maxXattrs)
	total := 0
	for _, name := range names {
		n, err := unix.Getxattr(fdPath(fd), name, buf)
		if err == unix.ENODATA {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("xattr %s: %w", name, err)
		}
		if total += len(name) + n; total > maxXattrs {
			return nil, fmt.Errorf("xattrs of more than %d bytes", maxXattrs)
		}
		out = append(out, &vzpb.TransferEntry_Xattr{Name: name, Value: append([]byte(nil), buf[:n]...)})
	}
	return out, nil
}

// setXattrs gives the opened file exactly these xattrs, of those that may travel. Others can be there already: a file made in a
// directory with a default ACL inherits one.
func setXattrs(fd int, want []*vzpb.TransferEntry_Xattr) error {
	names, err := xattrNames(fd)
	if err != nil {
		return err
	}
	total := 0
	keep := make(map[string]bool, len(want))
	for _, x := range want {
		if !xattrAllowed(x.Name) {
			return fmt.Errorf("xattr %q may not travel", x.Name)
		}
		if total += len(x.Name) + len(x.Value); total > maxXattrs {
			return fmt.Errorf("xattrs of more than %d bytes", maxXattrs)
		}
		keep[x.Name] = true
		if err := unix.Setxattr(fdPath(fd), x.Name, x.Value, 0); err != nil {
			return fmt.Errorf("xattr %s: %w", x.Name, err)
		}
	}
	for _, name := range names {
		if keep[name] {
			continue
		}
		if err := unix.Removexattr(fdPath(fd), name); err != nil && !errors.Is(err, unix.ENODATA) {
			return fmt.Errorf("xattr %s: %w", name, err)
		}
	}
	return nil
}
