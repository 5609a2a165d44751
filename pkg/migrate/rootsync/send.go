package rootsync

import (
	"context"
	"fmt"
	"sync"

	"github.com/vzcluster/vzcluster/proto/vzpb"
	"golang.org/x/sys/unix"
)

// Out takes frames. An entry and its data are sent under one lock, so that other items can go over the same stream in between.
// Send must be done with the frame's bytes when it returns.
type Out interface {
	sync.Locker
	Send(*vzpb.TransferFrame) error
}

// Sender holds what the target has. It belongs to one stream: a new stream starts with a new Sender.
type Sender struct {
	root   int
	index  *node
	round  uint32
	sum    *digest
	buf    []byte
	onSent func(bytes uint64)
}

// NewSender opens the tree at root, a directory of the host. Close it.
// onSent, if not nil, is told of each piece of content that was dealt with.
func NewSender(root string, onSent func(bytes uint64)) (*Sender, error) {
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", root, err)
	}
	if onSent == nil {
		onSent = func(uint64) {}
	}
	return &Sender{root: fd, index: &node{}, sum: newDigest(), buf: make([]byte, chunkSize), onSent: onSent}, nil
}

// Close releases the tree.
func (s *Sender) Close() error { return unix.Close(s.root) }

// Sum is the digest over everything sent so far.
func (s *Sender) Sum() Sum { return s.sum.sum() }

// Sent tells what one round really sent.
type Sent struct{ Files, Bytes uint64 }

// Send sends the changes of a scan. Entries that vanished meanwhile are left for the next round; with final (under freeze) that is an
// error: nothing may change then.
func (s *Sender) Send(ctx context.Context, c *Changes, out Out, final bool) (Sent, error) {
	before := s.sum.sum()
	first := make(map[inode]string) // of hard links: the name that was sent with the content
	for i := range c.list {
		if err := ctx.Err(); err != nil {
			return Sent{}, err
		}
		ch := &c.list[i]
		vanished, err := s.change(ch, first, out)
		if err != nil {
			return Sent{}, fmt.Errorf("send %q: %w", ch.path, err)
		}
		if vanished && final {
			return Sent{}, fmt.Errorf("send %q: it changed under the freeze", ch.path)
		}
	}
	after := s.sum.sum()
	return Sent{after.Entries - before.Entries, after.Bytes - before.Bytes}, nil
}

func (s *Sender) emit(out Out, e *vzpb.TransferEntry) error {
	s.sum.entry(e)
	return out.Send(&vzpb.TransferFrame{Part: &vzpb.TransferFrame_Entry{Entry: e}})
}

func (s *Sender) change(c *Change, first map[inode]string, out Out) (vanished bool, err error) {
	out.Lock()
	defer out.Unlock()
	n := c.node
	if n == nil {
		return false, s.emit(out, &vzpb.TransferEntry{Path: []byte(c.path), Deleted: true})
	}
	if len(c.path) > 0 {
		if err := CheckPath(c.path); err != nil {
			return false, err
		}
	}
	if name, ok := first[n.meta.inode()]; ok && n.meta.regular() && n.meta.nlink > 1 {
		n.sent, n.blocks = true, nil
		return false, s.emit(out, &vzpb.TransferEntry{Path: []byte(c.path), Mode: n.meta.mode, Hardlink: true, Link: []byte(name)})
	}
	flags := uint64(unix.O_PATH)
	switch n.meta.kind() {
	case unix.S_IFREG:
		flags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOATIME
	case unix.S_IFCHR, unix.S_IFBLK:
		if !deviceAllowed(n.meta.mode, n.meta.rdev) {
			return false, fmt.Errorf("device node %d:%d can't be moved: remove it", unix.Major(n.meta.rdev), unix.Minor(n.meta.rdev))
		}
	}
	fd, err := beneath(s.root, c.path, flags)
	if gone(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, err
	}
	m := metaOf(&st)
	if m.kind() != n.meta.kind() || m.inode() != n.meta.inode() {
		return true, nil
	}
	if m != n.meta {
		n.meta, n.racy = m, true // it changed since the scan, so its ctime is young
	}
	if m.regular() && m.nlink > 1 {
		first[m.inode()] = c.path
	}
	return false, s.entry(c, fd, out)
}

// entry sends one opened entry, with its content if it has any.
func (s *Sender) entry(c *Change, fd int, out Out) error {
	n := c.node
	m := n.meta
	e := &vzpb.TransferEntry{Path: []byte(c.path), Mode: m.mode, Uid: m.uid, Gid: m.gid, MtimeNs: m.mtimeNs}
	switch m.kind() {
	case unix.S_IFREG:
		e.Size = uint64(m.size)
		e.Delta = n.blocks != nil
	case unix.S_IFLNK:
		buf := make([]byte, maxPath+1)
		k, err := unix.Readlinkat(fd, "", buf)
		if err != nil {
			return err
		}
		if k > maxPath {
			return fmt.Errorf("symbolic link of more than %d bytes", maxPath)
		}
		e.Link = buf[:k]
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Rdev = m.rdev
	case unix.S_IFDIR, unix.S_IFIFO, unix.S_IFSOCK:
	default:
		return fmt.Errorf("unknown kind of file %o", m.mode)
	}
	if m.kind() != unix.S_IFLNK {
		var err error
		if e.Xattrs, err = readXattrs(fd); err != nil {
			return err
		}
	}
	if err := s.emit(out, e); err != nil {
		return err
	}
	if m.regular() {
		if err := s.content(n, fd, e, out); err != nil {
			return err
		}
	}
	n.sent = true
	return nil
}
