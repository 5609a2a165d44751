package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/vzcluster/vzcluster/pkg/migrate"
	"github.com/vzcluster/vzcluster/pkg/node/criu"
	"github.com/vzcluster/vzcluster/pkg/node/network"
)

// imageSlack is what images need on top of the memory that they hold, in bytes.
const imageSlack = 64 << 20

// Preflight implements [migrate.SourceEngine]. It finds what is known to fail, so that the container is not frozen for it; what it does
// not find, CRIU will, and the container then runs on.
func (r *Runtime) Preflight(ctx context.Context, a migrate.Attempt) error {
	if err := r.preflight(ctx, a); err != nil {
		return fmt.Errorf("%s cannot be moved live: %w", a.Container.CTID, err)
	}
	return nil
}

func (r *Runtime) preflight(ctx context.Context, a migrate.Attempt) error {
	ctid := a.Container.CTID
	_, st, pid, err := r.running(ctid)
	if err != nil {
		return err
	}
	if st != libcontainer.Running {
		return ErrNotRunning
	}
	r.mu.Lock()
	sessions := r.sessions[ctid]
	r.mu.Unlock()
	if sessions > 0 {
		return fmt.Errorf("%d exec session(s) open in the container: end them first", sessions)
	}
	if _, err := criu.Probe(ctx, r.cfg.CRIU); err != nil {
		return err
	}
	if err := r.checkNetwork(a, pid); err != nil {
		return err
	}
	m, _, err := r.newCgroups(a.Container)
	if err != nil {
		return err
	}
	if _, err := newFreezer(m); err != nil {
		return err
	}
	all, err := pids(m)
	if err != nil {
		return err
	}
	for _, p := range all {
		// A process that ends while it is looked at is none to worry about.
		if err := checkProcess(p, pid); err != nil && processAlive(p) {
			return err
		}
	}
	if err := r.checkMounts(ctid, pid); err != nil {
		return err
	}
	stats, err := m.GetStats()
	if err != nil {
		return err
	}
	return r.checkRoom(stats.MemoryStats.Usage.Usage)
}

// checkNetwork makes sure that the target can make the same network: it makes one device with the container's addresses, and nothing else.
func (r *Runtime) checkNetwork(a migrate.Attempt, pid int) error {
	n, networked := r.attachment(a.Container)
	if networked {
		if err := network.CheckBridge(n.Bridge); err != nil {
			return err
		}
	} else if len(a.Container.Spec.Net.Addresses) > 0 {
		return errors.New("its network has no fixed MAC address")
	}
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return err
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return err
	}
	for _, l := range links {
		name := l.Attrs().Name
		fallback := l.Attrs().Flags&unix.IFF_UP == 0 // tunl0 and the like, which come with a namespace
		if name != "lo" && name != "eth0" && !fallback {
			return fmt.Errorf("it has made a network device of its own, %s", name)
		}
	}
	return nil
}

// sharedNamespaces are those that every process must share with init: CRIU restores one of each.
var sharedNamespaces = []string{"pid", "net", "user", "uts", "ipc", "cgroup"}

// dumpableAnon are the files without a name that CRIU knows.
var dumpableAnon = []string{"[eventfd]", "[eventpoll]", "[timerfd]", "[signalfd]", "inotify", "[pidfd]"}

// checkProcess tells why a process cannot be dumped.
func checkProcess(pid, init int) error {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return err
	}
	name := fmt.Sprintf("process %d (%s)", pid, strings.TrimSpace(string(comm)))
	for p := pid; p != init; {
		up, err := parentOf(p)
		if err != nil {
			return err
		}
		if up <= 1 {
			return fmt.Errorf("%s was started from outside", name)
		}
		p = up
	}
	for _, ns := range sharedNamespaces {
		his, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
		if err != nil {
			return err
		}
		if inits, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", init, ns)); err != nil || his != inits {
			return errors.Join(err, fmt.Errorf("%s is in a %s namespace of its own", name, ns))
		}
	}
	return checkFiles(pid, name)
}

func checkFiles(pid int, name string) error {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, fd := range fds {
		to, err := os.Readlink(dir + "/" + fd.Name())
		if err != nil {
			continue // closed meanwhile
		}
		kind, anon := strings.CutPrefix(to, "anon_inode:")
		if anon && !slices.Contains(dumpableAnon, kind) {
			return fmt.Errorf("%s holds %s, which cannot be dumped", name, to)
		}
	}
	return nil
}

// remakeable are file systems that CRIU mounts anew.
var remakeable = []string{"proc", "sysfs", "devpts", "tmpfs", "ramfs", "mqueue", "cgroup", "cgroup2", "devtmpfs"}

// checkMounts tells which mount the target could not make: one of another device than the root's, from outside or from the network.
func (r *Runtime) checkMounts(ctid string, pid int) error {
	mounts, err := mountinfo.GetMountsFromReader(openOrEmpty(fmt.Sprintf("/proc/%d/mountinfo", pid)), nil)
	if err != nil {
		return err
	}
	external := map[string]bool{}
	for _, e := range r.externalMounts(ctid) {
		external[e.Destination] = true
	}
	var root *mountinfo.Info
	for _, m := range mounts {
		if m.Mountpoint == "/" {
			root = m
		}
	}
	if root == nil {
		return errors.New("its mounts cannot be read")
	}
	for _, m := range mounts {
		ours := external[m.Mountpoint] || m.Major == root.Major && m.Minor == root.Minor
		if !ours && !slices.Contains(remakeable, m.FSType) {
			return fmt.Errorf("it has a file system of type %s mounted at %s", m.FSType, m.Mountpoint)
		}
	}
	return nil
}

func openOrEmpty(file string) *strings.Reader {
	b, _ := os.ReadFile(file)
	return strings.NewReader(string(b))
}

// checkRoom makes sure that images of so many bytes fit where they are written.
func (r *Runtime) checkRoom(used uint64) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(r.imageBase(), &fs); err != nil {
		return err
	}
	free := fs.Bavail * uint64(fs.Bsize)
	if fs.Type == unix.TMPFS_MAGIC {
		if avail, err := memAvailable(); err == nil {
			free = min(free, avail)
		}
	}
	if free < used+imageSlack {
		return fmt.Errorf("its images need %d MiB, %d MiB are free in %s", (used+imageSlack)>>20, free>>20, r.imageBase())
	}
	return nil
}

// memAvailable is what the host could give without swapping, in bytes.
func memAvailable() (uint64, error) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		var kib uint64
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n == 1 {
			return kib << 10, nil
		}
	}
	return 0, errors.New("no MemAvailable in /proc/meminfo")
}
