package rootsync

import (
	"golang.org/x/sys/unix"
)

// meta is what the index remembers of an entry: everything that a change can move. No xattr hash: setting an xattr moves ctime.
type meta struct {
	dev, ino, rdev   uint64
	size             int64
	mtimeNs, ctimeNs int64
	nlink            uint64
	mode, uid, gid   uint32
}

// inode names a file on this host.
type inode struct{ dev, ino uint64 }

func metaOf(st *unix.Stat_t) meta {
	return meta{
		dev: st.Dev, ino: st.Ino, rdev: st.Rdev, size: st.Size, nlink: st.Nlink,
		mtimeNs: st.Mtim.Nano(), ctimeNs: st.Ctim.Nano(), mode: st.Mode, uid: st.Uid, gid: st.Gid,
	}
}

func (m meta) kind() uint32  { return m.mode & unix.S_IFMT }
func (m meta) dir() bool     { return m.kind() == unix.S_IFDIR }
func (m meta) regular() bool { return m.kind() == unix.S_IFREG }
func (m meta) inode() inode  { return inode{m.dev, m.ino} }

// deviceAllowed is the list of device nodes that may be in a container's root: those that templates ship and that give access to
// nothing. Everything else in a stream is an attack, and in a source root it is named to the operator.
func deviceAllowed(mode uint32, rdev uint64) bool {
	if mode&unix.S_IFMT != unix.S_IFCHR {
		return false
	}
	type dev struct{ major, minor uint32 }
	switch (dev{unix.Major(rdev), unix.Minor(rdev)}) {
	case dev{0, 0}, // whiteout of an overlay
		dev{1, 3}, dev{1, 5}, dev{1, 7}, dev{1, 8}, dev{1, 9}, // null zero full random urandom
		dev{5, 0}, dev{5, 1}, dev{5, 2}: // tty console ptmx
		return true
	}
	return false
}
