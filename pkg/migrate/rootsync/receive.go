package rootsync

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/vzcluster/vzcluster/proto/vzpb"
	"golang.org/x/sys/unix"
)

// Limits are what a stream may make on this host. 0 is no limit.
type Limits struct {
	Bytes  uint64 // allocated on disk
	Inodes uint64
}

// LimitError says that the stream wants more than was reserved.
type LimitError struct {
	What  string
	Limit uint64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("the root file system needs more than the %d %s that are reserved here", e.Limit, e.What)
}

// Receiver writes one stream's entries below one directory. Every error is final: the tree is then of no use.
type Receiver struct {
	root   int
	limits Limits
	sum    *digest
	inodes uint64
	bytes  uint64 // allocated so far

	parentPath string // the directory of the last entry, kept open
	parent     int    // -1: none

	dirTimes map[string]int64 // mtime of each directory as the source has it
	touched  map[string]bool  // directories whose mtime our own writing has moved in this round

	file *openFile
}

// NewReceiver empties the directory root, which must exist, and writes into it. Close it.
func NewReceiver(root string, limits Limits) (*Receiver, error) {
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", root, err)
	}
	if err := emptyDir(fd); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("empty %s: %w", root, err)
	}
	if limits.Bytes == 0 {
		limits.Bytes = math.MaxUint64
	}
	if limits.Inodes == 0 {
		limits.Inodes = math.MaxUint64
	}
	return &Receiver{root: fd, limits: limits, sum: newDigest(), parent: -1, dirTimes: map[string]int64{}, touched: map[string]bool{}}, nil
}

// Close releases the tree.
func (r *Receiver) Close() error {
	r.forgetParent()
	if r.file != nil {
		unix.Close(r.file.fd)
		r.file = nil
	}
	return unix.Close(r.root)
}

// Sum is the digest over everything received so far.
func (r *Receiver) Sum() Sum { return r.sum.sum() }

// Sync makes the tree durable.
func (r *Receiver) Sync() error {
	if err := unix.Syncfs(r.root); err != nil {
		return fmt.Errorf("syncfs: %w", err)
	}
	return nil
}

// EndRound closes a round: directories get the times of the source.
func (r *Receiver) EndRound() error {
	if r.file != nil {
		return errors.New("round ended in the middle of a file")
	}
	for path := range r.touched {
		ns, ok := r.dirTimes[path]
		if !ok {
			continue
		}
		fd, err := beneath(r.root, path, unix.O_RDONLY|unix.O_DIRECTORY)
		if gone(err) {
			continue // removed after it was written into
		}
		if err == nil {
			err = setTimes(fd, ns)
			unix.Close(fd)
		}
		if err != nil {
			return fmt.Errorf("times of %q: %w", path, err)
		}
	}
	clear(r.touched)
	return nil
}

// Entry takes one entry.
func (r *Receiver) Entry(e *vzpb.TransferEntry) error {
	path := string(e.Path)
	if r.file != nil {
		return fmt.Errorf("entry %q in the middle of file %q", path, r.file.path)
	}
	if path != "" {
		if err := CheckPath(path); err != nil {
			return err
		}
	} else if e.Mode&unix.S_IFMT != unix.S_IFDIR || e.Deleted {
		return errors.New("the root must be a directory")
	}
	r.sum.entry(e)
	if err := r.entry(path, e); err != nil {
		return fmt.Errorf("receive %q: %w", path, err)
	}
	return nil
}

func (r *Receiver) entry(path string, e *vzpb.TransferEntry) error {
	if path == "" {
		return r.dirMeta(r.root, path, e)
	}
	dir, name := split(path)
	parent, err := r.openParent(dir)
	if e.Deleted && gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if e.Deleted {
		return r.remove(parent, path, name)
	}
	if e.Hardlink {
		return r.hardlink(parent, path, name, e)
	}
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return r.dir(parent, path, name, e)
	case unix.S_IFREG:
		return r.regular(parent, path, name, e)
	case unix.S_IFLNK:
		return r.symlink(parent, path, name, e)
	case unix.S_IFIFO, unix.S_IFSOCK:
		return r.special(parent, path, name, e, 0)
	case unix.S_IFCHR, unix.S_IFBLK:
		if !deviceAllowed(e.Mode, e.Rdev) {
			return fmt.Errorf("device node %d:%d is not allowed", unix.Major(e.Rdev), unix.Minor(e.Rdev))
		}
		return r.special(parent, path, name, e, e.Rdev)
	}
	return fmt.Errorf("unknown kind of file %o", e.Mode)
}

// openParent opens the directory dir below the root; neighbours come one after the other, so the last one is kept.
func (r *Receiver) openParent(dir string) (int, error) {
	r.touched[dir] = true
	if dir == "" {
		return r.root, nil
	}
	if r.parent >= 0 && r.parentPath == dir {
		return r.parent, nil
	}
	fd, err := beneath(r.root, dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	r.forgetParent()
	r.parent, r.parentPath = fd, dir
	return fd, nil
}

func (r *Receiver) forgetParent() {
	if r.parent >= 0 {
		unix.Close(r.parent)
	}
	r.parent, r.parentPath = -1, ""
}

// remove takes away whatever has this name. The directory that is kept open may be among it.
func (r *Receiver) remove(parent int, path, name string) error {
	if err := removeAll(parent, name); err != nil {
		return err
	}
	if strings.HasPrefix(r.parentPath+"/", path+"/") {
		r.forgetParent()
	}
	return nil
}

// create makes something new under a name, in place of what has it now.
func (r *Receiver) create(parent int, path, name string, create func() error) error {
	if r.inodes++; r.inodes > r.limits.Inodes {
		return &LimitError{"files", r.limits.Inodes}
	}
	err := create()
	if errors.Is(err, unix.EEXIST) {
		r.inodes--
		if err := r.remove(parent, path, name); err != nil {
			return err
		}
		err = create()
	}
	return err
}

func (r *Receiver) dir(parent int, path, name string, e *vzpb.TransferEntry) error {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY
	fd, err := beneath(parent, name, flags)
	if gone(err) {
		if err := r.create(parent, path, name, func() error { return unix.Mkdirat(parent, name, 0o700) }); err != nil {
			return err
		}
		fd, err = beneath(parent, name, flags)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return r.dirMeta(fd, path, e)
}

func (r *Receiver) dirMeta(fd int, path string, e *vzpb.TransferEntry) error {
	r.dirTimes[path] = e.MtimeNs
	r.touched[path] = true
	return setMeta(fd, e)
}

func (r *Receiver) symlink(parent int, path, name string, e *vzpb.TransferEntry) error {
	if len(e.Link) == 0 || len(e.Link) > maxPath {
		return fmt.Errorf("symbolic link of %d bytes", len(e.Link))
	}
	target := string(e.Link) // any text: nothing on this host ever follows it
	if err := r.create(parent, path, name, func() error { return unix.Symlinkat(target, parent, name) }); err != nil {
		return err
	}
	if err := unix.Fchownat(parent, name, int(e.Uid), int(e.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	return unix.UtimesNanoAt(parent, name, timesOf(e.MtimeNs), unix.AT_SYMLINK_NOFOLLOW)
}

func (r *Receiver) special(parent int, path, name string, e *vzpb.TransferEntry, rdev uint64) error {
	err := r.create(parent, path, name, func() error { return unix.Mknodat(parent, name, e.Mode&unix.S_IFMT|0o600, int(rdev)) })
	if err != nil {
		return err
	}
	fd, err := beneath(parent, name, unix.O_PATH)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := setMeta(fd, e); err != nil {
		return err
	}
	return setTimes(fd, e.MtimeNs)
}

// hardlink makes name another name of the file that has the path e.Link.
func (r *Receiver) hardlink(parent int, path, name string, e *vzpb.TransferEntry) error {
	link := string(e.Link)
	if err := CheckPath(link); err != nil {
		return err
	}
	dir, base := split(link)
	from, err := beneath(r.root, dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	var want, have unix.Stat_t
	if err := unix.Fstatat(from, base, &want, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if want.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("hard link to %q, which is no regular file", link)
	}
	err = unix.Fstatat(parent, name, &have, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && have.Ino == want.Ino && have.Dev == want.Dev {
		return nil
	}
	return r.create(parent, path, name, func() error { return unix.Linkat(from, base, parent, name, 0) })
}
