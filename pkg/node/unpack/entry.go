package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

type unpacker struct {
	root    *os.Root
	opt     Options
	entries int
	bytes   uint64
	dirs    []dirTime
}

// dirTime is set when everything is inside.
type dirTime struct {
	name  string
	mtime time.Time
}

// entry makes one entry of the archive.
func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeChar, tar.TypeBlock:
		name, err := cleanName(h.Name)
		if err != nil {
			return err
		}
		if passedOver(name) {
			return nil
		}
		return errors.New("device node")
	}
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	uid, gid, err := u.owner(h)
	if err != nil {
		return err
	}
	if name == "." && h.Typeflag != tar.TypeDir {
		return errors.New("the root must be a directory")
	}
	parent, base := path.Dir(name), path.Base(name)
	dir, err := u.openParent(parent)
	if err != nil {
		return err
	}
	defer dir.Close()
	at := int(dir.Fd())

	mode := uint32(h.Mode) & 0o7777
	switch h.Typeflag {
	case tar.TypeDir:
		if err := makeDir(at, base); err != nil {
			return err
		}
		u.dirs = append(u.dirs, dirTime{name, h.ModTime})
	case tar.TypeReg, tar.TypeGNUSparse:
		if u.bytes += uint64(h.Size); u.opt.MaxBytes > 0 && u.bytes > u.opt.MaxBytes {
			return fmt.Errorf("the content is larger than the disk space of %d bytes", u.opt.MaxBytes)
		}
		if err := writeFile(at, base, content, h.Size); err != nil {
			return err
		}
	case tar.TypeSymlink:
		if err := replace(at, base, func() error { return unix.Symlinkat(h.Linkname, at, base) }); err != nil {
			return err
		}
	case tar.TypeLink:
		// The other name has the metadata already.
		return u.link(at, base, h.Linkname)
	case tar.TypeFifo:
		if err := replace(at, base, func() error { return unix.Mkfifoat(at, base, 0o600) }); err != nil {
			return err
		}
	default:
		return fmt.Errorf("unknown type %q", h.Typeflag)
	}
	if err := unix.Fchownat(at, base, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	// After chown, which clears set-id bits and capabilities.
	if h.Typeflag != tar.TypeSymlink {
		// It is no symlink: we have just made it, and nobody else is in here.
		if err := unix.Fchmodat(at, base, mode, 0); err != nil {
			return fmt.Errorf("chmod: %w", err)
		}
	}
	if err := setXattrs(at, base, h.PAXRecords, u.opt.IDBase); err != nil {
		return err
	}
	return setTime(at, base, h.ModTime)
}

// openParent opens the directory that an entry goes into. One that the archive does not mention is made, as the container's root's.
func (u *unpacker) openParent(name string) (*os.File, error) {
	dir, err := u.root.Open(name)
	if !errors.Is(err, os.ErrNotExist) {
		return dir, err
	}
	above, err := u.openParent(path.Dir(name))
	if err != nil {
		return nil, err
	}
	defer above.Close()
	at, base := int(above.Fd()), path.Base(name)
	if err := unix.Mkdirat(at, base, 0o755); err != nil {
		return nil, err
	}
	if err := unix.Fchownat(at, base, int(u.opt.IDBase), int(u.opt.IDBase), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, err
	}
	return u.root.Open(name)
}

// owner shifts the owner of an entry.
func (u *unpacker) owner(h *tar.Header) (uid, gid int, err error) {
	for _, id := range []int{h.Uid, h.Gid} {
		if id < 0 || uint64(id) >= 1<<32-1 || (u.opt.IDRange > 0 && uint64(id) >= uint64(u.opt.IDRange)) {
			return 0, 0, fmt.Errorf("owner %d is outside of the container's ids", id)
		}
	}
	return h.Uid + int(u.opt.IDBase), h.Gid + int(u.opt.IDBase), nil
}

// makeDir makes a directory, or takes one that is there.
func makeDir(at int, base string) error {
	err := unix.Mkdirat(at, base, 0o700)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(at, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return nil
	}
	return replace(at, base, func() error { return unix.Mkdirat(at, base, 0o700) })
}

// replace makes an entry in the place of whatever is there, as tar does; a directory must be empty.
func replace(at int, base string, make func() error) error {
	err := make()
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := unix.Unlinkat(at, base, 0); err != nil {
		if err := unix.Unlinkat(at, base, unix.AT_REMOVEDIR); err != nil {
			return err
		}
	}
	return make()
}

// link makes a hard link to an earlier entry.
func (u *unpacker) link(at int, base, target string) error {
	old, err := cleanName(target)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	dir, err := u.root.Open(path.Dir(old))
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	defer dir.Close()
	err = replace(at, base, func() error { return unix.Linkat(int(dir.Fd()), path.Base(old), at, base, 0) })
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	return nil
}

const sparseBlock = 1 << 16

// writeFile writes a new file, with holes where whole blocks are zero.
func writeFile(at int, base string, content io.Reader, size int64) error {
	var fd int
	err := replace(at, base, func() (err error) {
		fd, err = unix.Openat(at, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), base)
	defer f.Close()
	buf := make([]byte, min(int64(sparseBlock), max(size, 1)))
	for off := int64(0); off < size; {
		n, err := io.ReadFull(content, buf[:min(int64(len(buf)), size-off)])
		if err != nil {
			return fmt.Errorf("at byte %d of %d: %w", off+int64(n), size, err)
		}
		if !allZero(buf[:n]) {
			if _, err := f.WriteAt(buf[:n], off); err != nil {
				return err
			}
		}
		off += int64(n)
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	return f.Close()
}

func allZero(b []byte) bool {
	for len(b) >= 8 {
		if b[0]|b[1]|b[2]|b[3]|b[4]|b[5]|b[6]|b[7] != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// finishDirs sets the times of directories, innermost last in the archive or not: nothing is added any more.
func (u *unpacker) finishDirs() error {
	for _, d := range u.dirs {
		dir, err := u.root.Open(path.Dir(d.name))
		if err != nil {
			return &EntryError{d.name, err}
		}
		err = setTime(int(dir.Fd()), path.Base(d.name), d.mtime)
		dir.Close()
		if err != nil && !errors.Is(err, unix.ENOENT) { // a later entry may have taken its place
			return &EntryError{d.name, err}
		}
	}
	return nil
}

func setTime(at int, base string, t time.Time) error {
	ts := unix.NsecToTimespec(t.UnixNano())
	if err := unix.UtimesNanoAt(at, base, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set time: %w", err)
	}
	return nil
}
