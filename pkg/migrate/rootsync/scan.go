package rootsync

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"sort"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// racyWindow: a time stamp younger than this at the start of a scan does not prove that nothing changed since.
const racyWindow = time.Second

// node is one entry of the index.
type node struct {
	name     string
	meta     meta
	sent     bool // the target has it as meta says
	racy     bool
	round    uint32 // of the last scan that saw it
	children map[string]*node
	blocks   []blockHash // of a large regular file's content as sent
}

// Change is one entry that the target must be told of.
type Change struct {
	path string
	node *node // nil: deleted
}

// Changes are the result of a scan, in the order in which they must be sent: deletions, then parents before their children.
type Changes struct {
	list []Change
	// Files and Bytes are how many entries there are to send, and the size of their content: for the progress bar.
	Files, Bytes uint64
	// Seen is how many entries the tree has.
	Seen uint64
}

// scan is one walk.
type scan struct {
	ctx   context.Context
	dev   uint64
	round uint32
	racy  int64 // ctime in ns from which on an entry is racy
	force map[inode]bool
	slots chan struct{}

	mu   sync.Mutex
	out  Changes
	err  error
	wait sync.WaitGroup
}

// Scan walks the tree in parallel and returns what differs from what the target has. force names files, relative to the root, whose
// times prove nothing; names that do not exist are ignored. The tree may change meanwhile.
func (s *Sender) Scan(ctx context.Context, force []string) (*Changes, error) {
	var st unix.Stat_t
	if err := unix.Fstat(s.root, &st); err != nil {
		return nil, fmt.Errorf("scan root: %w", err)
	}
	s.round++
	w := &scan{
		ctx: ctx, dev: st.Dev, round: s.round, racy: time.Now().Add(-racyWindow).UnixNano(),
		slots: make(chan struct{}, max(runtime.GOMAXPROCS(0)-1, 1)), force: s.inodes(force),
	}
	w.look("", s.index, &st)
	fd, err := unix.Dup(s.root)
	if err != nil {
		return nil, fmt.Errorf("scan root: %w", err)
	}
	unix.CloseOnExec(fd)
	if _, err := unix.Seek(fd, 0, 0); err != nil { // the descriptor shares its position with the former scan's
		unix.Close(fd)
		return nil, fmt.Errorf("scan root: %w", err)
	}
	w.dir(fd, "", s.index)
	w.wait.Wait()
	if w.err != nil {
		return nil, w.err
	}
	sort.Slice(w.out.list, func(i, j int) bool {
		a, b := &w.out.list[i], &w.out.list[j]
		if (a.node == nil) != (b.node == nil) {
			return a.node == nil
		}
		return a.path < b.path
	})
	return &w.out, nil
}

func (s *Sender) inodes(paths []string) map[inode]bool {
	if len(paths) == 0 {
		return nil
	}
	out := make(map[inode]bool, len(paths))
	for _, p := range paths {
		fd, err := beneath(s.root, p, unix.O_PATH)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil {
			out[inode{st.Dev, st.Ino}] = true
		}
		unix.Close(fd)
	}
	return out
}

func (w *scan) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

// look compares one entry of the directory dir with what the index knows and notes a change. The path is only put together for one.
func (w *scan) look(dir string, n *node, st *unix.Stat_t) {
	m := metaOf(st)
	forced := w.force[m.inode()]
	if n.sent && n.meta == m && !n.racy && !forced {
		n.round = w.round
		return
	}
	path := join(dir, n.name)
	c := Change{path: path, node: n}
	var replaced bool
	if n.round != 0 && (n.meta.kind() != m.kind() || m.dir() && n.meta.inode() != m.inode()) {
		// Another thing under the same name. What the target has below it must go first.
		replaced = n.meta.dir()
		n.children = nil
	}
	if n.meta.inode() != m.inode() || !m.regular() {
		n.blocks = nil
	}
	n.meta, n.sent, n.racy, n.round = m, false, m.ctimeNs >= w.racy, w.round
	w.mu.Lock()
	defer w.mu.Unlock()
	if replaced {
		w.out.list = append(w.out.list, Change{path: path})
	}
	w.out.list = append(w.out.list, c)
	w.out.Files++
	if m.regular() {
		w.out.Bytes += uint64(m.size)
	}
}

// dir walks an opened directory and closes it.
func (w *scan) dir(fd int, path string, n *node) {
	defer unix.Close(fd)
	if err := w.ctx.Err(); err != nil {
		w.fail(err)
		return
	}
	if n.children == nil {
		n.children = make(map[string]*node)
	}
	subdirs, seen, err := w.entries(fd, path, n)
	if err != nil {
		if !gone(err) {
			w.fail(fmt.Errorf("scan %q: %w", path, err))
		}
		n.sent = false
		return
	}
	w.mu.Lock()
	w.out.Seen += uint64(seen)
	if seen != len(n.children) {
		for name, c := range n.children {
			if c.round != w.round {
				delete(n.children, name)
				w.out.list = append(w.out.list, Change{path: join(path, name)})
			}
		}
	}
	w.mu.Unlock()
	for _, c := range subdirs {
		sub, err := unix.Openat(fd, c.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NOATIME, 0)
		if err != nil {
			if !gone(err) {
				w.fail(fmt.Errorf("scan %q: %w", join(path, c.name), err))
			}
			c.sent = false
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstat(sub, &st); err != nil || st.Ino != c.meta.ino || st.Dev != c.meta.dev {
			unix.Close(sub)
			c.sent = false // replaced since the look: the next round will know it as new
			continue
		}
		select {
		case w.slots <- struct{}{}:
			w.wait.Go(func() {
				w.dir(sub, join(path, c.name), c)
				<-w.slots
			})
		default:
			w.dir(sub, join(path, c.name), c)
		}
	}
}

// entries looks at every name in a directory and returns the directories to descend into.
func (w *scan) entries(fd int, path string, n *node) (subdirs []*node, seen int, err error) {
	buf := make([]byte, 32<<10)
	for {
		got, err := unix.Getdents(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		if got == 0 {
			return subdirs, seen, nil
		}
		for rest := buf[:got]; len(rest) > 0; {
			const nameAt = 19 // ino u64, off u64, reclen u16, type u8, name
			size := binary.NativeEndian.Uint16(rest[16:])
			raw := rest[nameAt:size]
			rest = rest[size:]
			raw = raw[:bytes.IndexByte(raw, 0)]
			if len(raw) <= 2 && (string(raw) == "." || string(raw) == "..") {
				continue
			}
			c, known := n.children[string(raw)] // no allocation
			if !known {
				c = &node{name: string(raw)}
			}
			var st unix.Stat_t
			if err := unix.Fstatat(fd, c.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				if gone(err) {
					continue
				}
				return nil, 0, err
			}
			if c.round == w.round {
				continue // a directory that changes while it is read can show a name twice
			}
			n.children[c.name] = c
			seen++
			w.look(path, c, &st)
			// A mount inside the root is not part of it: its content stays where it is.
			if c.meta.dir() && st.Dev == w.dev {
				subdirs = append(subdirs, c)
			}
		}
	}
}
