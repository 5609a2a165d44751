package rootsync

import (
	"errors"
	"fmt"

	"github.com/vzcluster/vzcluster/proto/vzpb"
	"golang.org/x/sys/unix"
)

// openFile is the regular file whose data frames are coming in.
type openFile struct {
	fd     int
	path   string
	entry  *vzpb.TransferEntry
	next   uint64 // no frame may start before this
	had    uint64 // bytes allocated before
	fresh  bool   // nothing was in it: zeros need not be written
	booked uint64 // bytes written by this stream into it
}

// regular opens the file and, if it has no content, finishes it.
func (r *Receiver) regular(parent int, path, name string, e *vzpb.TransferEntry) error {
	f := &openFile{path: path, entry: e, fresh: !e.Delta}
	var err error
	if e.Delta {
		// The blocks of a former round stay: it must be exactly the regular file that that round made here.
		f.fd, err = beneath(parent, name, unix.O_WRONLY)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err = unix.Fstat(f.fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
			err = errors.New("changed blocks of something that is no regular file")
		}
		f.had = uint64(st.Blocks) * 512
	} else {
		if r.bytes > 0 || r.inodes > 0 {
			f.had = allocated(parent, name)
		}
		err = r.create(parent, path, name, func() (err error) {
			f.fd, err = unix.Openat(parent, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
			return err
		})
	}
	if err != nil {
		if f.fd > 0 {
			unix.Close(f.fd)
		}
		return err
	}
	r.file = f
	if e.Size == 0 {
		return r.finish(0)
	}
	return nil
}

// allocated is how much of the disk the regular file that is about to be replaced has.
func allocated(parent int, name string) uint64 {
	var st unix.Stat_t
	if unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink > 1 {
		return 0
	}
	return uint64(st.Blocks) * 512
}

// Data takes content of the file whose entry came last.
func (r *Receiver) Data(d *vzpb.TransferData) error {
	f := r.file
	if f == nil {
		return errors.New("data without a file")
	}
	if err := r.data(f, d); err != nil {
		return fmt.Errorf("receive %q: %w", f.path, err)
	}
	return nil
}

func (r *Receiver) data(f *openFile, d *vzpb.TransferData) error {
	size := uint64(len(d.Data))
	end := d.Offset + size
	if size > chunkSize || d.Offset < f.next || end < d.Offset || end > f.entry.Size {
		return fmt.Errorf("data of %d bytes at %d does not fit into the %d bytes that were announced", size, d.Offset, f.entry.Size)
	}
	r.sum.data(d.Offset, d.Data, d.End)
	f.next = end
	f.booked += size
	if r.bytes+f.booked > r.limits.Bytes && r.bytes+f.booked-min(f.had, r.bytes) > r.limits.Bytes {
		return &LimitError{"bytes", r.limits.Bytes}
	}
	if err := f.write(d.Data, int64(d.Offset)); err != nil {
		return err
	}
	if d.End {
		return r.finish(int64(end))
	}
	return nil
}

// write puts p at off, with holes where a new file would get zeros.
func (f *openFile) write(p []byte, off int64) error {
	const page = 4096
	for len(p) > 0 {
		n := len(p)
		if f.fresh {
			run := min(page, n)
			zero := allZero(p[:run])
			for run < n && allZero(p[run:min(run+page, n)]) == zero {
				run = min(run+page, n)
			}
			n = run
			if zero {
				p, off = p[n:], off+int64(n)
				continue
			}
		}
		k, err := unix.Pwrite(f.fd, p[:n], off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		p, off = p[k:], off+int64(k)
	}
	return nil
}

// finish gives the file its size, owner, mode, xattrs and times, and closes it.
func (r *Receiver) finish(size int64) error {
	f := r.file
	r.file = nil
	defer unix.Close(f.fd)
	if err := unix.Ftruncate(f.fd, size); err != nil {
		return err
	}
	if err := setMeta(f.fd, f.entry); err != nil {
		return err
	}
	if err := setTimes(f.fd, f.entry.MtimeNs); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return err
	}
	r.bytes -= min(f.had, r.bytes)
	// Delayed allocation may not show in st_blocks yet.
	if r.bytes += max(uint64(st.Blocks)*512, min(f.booked, uint64(st.Size))); r.bytes > r.limits.Bytes {
		return &LimitError{"bytes", r.limits.Bytes}
	}
	return nil
}

// setMeta sets owner, mode and xattrs of an opened file of any kind but a symbolic link. The order matters: chown clears setuid and
// capabilities, chmod rewrites an ACL's mask.
func setMeta(fd int, e *vzpb.TransferEntry) error {
	p := fdPath(fd)
	if err := unix.Chown(p, int(e.Uid), int(e.Gid)); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	if err := unix.Chmod(p, e.Mode&0o7777); err != nil {
		return fmt.Errorf("chmod: %w", err)
	}
	return setXattrs(fd, e.Xattrs)
}

func timesOf(ns int64) []unix.Timespec {
	return []unix.Timespec{{Nsec: unix.UTIME_NOW}, unix.NsecToTimespec(ns)}
}

func setTimes(fd int, ns int64) error {
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, fdPath(fd), timesOf(ns), 0); err != nil {
		return fmt.Errorf("utimens: %w", err)
	}
	return nil
}

// removeAll removes name in the directory dirfd, with everything below it, by descriptors and without following a link.
func removeAll(dirfd int, name string) error {
	err := unix.Unlinkat(dirfd, name, 0)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err != unix.EISDIR && err != unix.EPERM {
		return err
	}
	fd, err := beneath(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	err = emptyDir(fd)
	unix.Close(fd)
	if err != nil {
		return err
	}
	return unix.Unlinkat(dirfd, name, unix.AT_REMOVEDIR)
}

// emptyDir removes everything in an opened directory.
func emptyDir(fd int) error {
	buf := make([]byte, 16<<10)
	for {
		if _, err := unix.Seek(fd, 0, 0); err != nil {
			return err
		}
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			return err
		}
		_, _, names := unix.ParseDirent(buf[:n], -1, nil)
		if len(names) == 0 {
			return nil
		}
		for _, name := range names {
			if err := removeAll(fd, name); err != nil {
				return err
			}
		}
	}
}
