package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/node/network"
)

// Usage implements [node.Runtime]. Disk space is counted by walking the root, seldom enough to cost little: the figure may be a minute old.
// A stopped container uses disk space only.
func (r *Runtime) Usage(ctx context.Context, ctid string) (cluster.Usage, error) {
	var u cluster.Usage
	var err error
	if u.DiskBytes, err = r.disk.usage(ctx, ctid, r.rootDir(ctid)); err != nil {
		return u, fmt.Errorf("usage of %s: %w", ctid, err)
	}
	lc, st, _, err := r.running(ctid)
	if err != nil {
		return u, fmt.Errorf("usage of %s: %w", ctid, err)
	}
	if st == libcontainer.Stopped {
		return u, nil
	}
	s, err := lc.Stats()
	if err != nil {
		return u, fmt.Errorf("usage of %s: %w", ctid, err)
	}
	if cg := s.CgroupStats; cg != nil {
		u.CPUNanos = cg.CpuStats.CpuUsage.TotalUsage
		u.MemoryBytes = cg.MemoryStats.Usage.Usage
		u.Pids = cg.PidsStats.Current
	}
	// What the host's end sends, the container receives.
	if l, err := netlink.LinkByName(network.HostName(ctid)); err == nil {
		if s := l.Attrs().Statistics; s != nil {
			u.NetRxBytes, u.NetTxBytes = s.TxBytes, s.RxBytes
		}
	}
	return u, nil
}

const (
	diskInterval = 30 * time.Second // between two walks of one root
	diskShare    = 50               // a walk takes at most one part in so many of the time
)

// diskMeter remembers what the roots occupy.
type diskMeter struct {
	mu sync.Mutex
	m  map[string]diskFigure
}

type diskFigure struct {
	bytes uint64
	next  time.Time
}

func (d *diskMeter) usage(ctx context.Context, ctid, root string) (uint64, error) {
	d.mu.Lock()
	f, ok := d.m[ctid]
	d.mu.Unlock()
	start := time.Now()
	if ok && start.Before(f.next) {
		return f.bytes, nil
	}
	n, err := occupied(ctx, root)
	if err != nil {
		return 0, err
	}
	took := time.Since(start)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.m == nil {
		d.m = map[string]diskFigure{}
	}
	d.m[ctid] = diskFigure{n, start.Add(max(diskInterval, diskShare*took))}
	return n, nil
}

func (d *diskMeter) forget(ctid string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.m, ctid)
}

// occupied is what a tree takes on the disk: blocks, not lengths; each inode once.
func occupied(ctx context.Context, root string) (uint64, error) {
	var sum uint64
	seen := map[uint64]bool{}
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(p, &st)
		}
		if err != nil {
			if errors.Is(err, os.ErrNotExist) && p != root {
				return nil // it runs, and files come and go
			}
			return err
		}
		if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
		}
		sum += uint64(st.Blocks) * 512
		return nil
	})
	return sum, err
}
