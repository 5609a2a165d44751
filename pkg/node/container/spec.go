package container

import (
	"github.com/opencontainers/cgroups"
	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// defaultNumProc bounds processes and threads of a container whose spec names no limit, so that a fork bomb stays inside.
const defaultNumProc = 4096

// config derives libcontainer's configuration from the record. It depends on nothing but the record, this runtime's configuration and
// the host's kernel, so that a target derives for a restored container what its source had started it with.
func (r *Runtime) config(c cluster.Container) *configs.Config {
	host := c.Spec.Hostname
	if host == "" {
		host = "ct" + c.CTID
	}
	cfg := &configs.Config{
		Rootfs:          r.mountPoint(c.CTID),
		RootPropagation: unix.MS_PRIVATE | unix.MS_REC,
		Hostname:        host,
		Version:         "1.3.0",
		Labels:          []string{"org.vzcluster.ctid=" + c.CTID},
		Namespaces: configs.Namespaces{
			{Type: configs.NEWNS}, {Type: configs.NEWPID}, {Type: configs.NEWUTS}, {Type: configs.NEWIPC},
			{Type: configs.NEWNET}, {Type: configs.NEWCGROUP},
		},
		Capabilities: capabilities(c.Spec.Privileged),
		Mounts:       r.mounts(c.CTID),
		MaskPaths:    maskedPaths(),
		Seccomp:      seccompFilter(),
		Cgroups:      &cgroups.Cgroup{Path: r.cgroupPath(c.CTID), Resources: resources(c.Spec)},
		Rlimits:      rlimits(),
		OomScoreAdj:  oomScoreAdj(),
	}
	if c.Spec.Privileged {
		cfg.ReadonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
	} else {
		ids := []configs.IDMap{{ContainerID: 0, HostID: int64(c.IDBase), Size: cluster.IDRange}}
		cfg.Namespaces = append(cfg.Namespaces, configs.Namespace{Type: configs.NEWUSER})
		cfg.UIDMappings, cfg.GIDMappings = ids, ids
	}
	return cfg
}

// initEnv is the environment of pid 1. CONSOLE makes busybox's and sysvinit's init use our FIFO.
func initEnv(ctid string) []string {
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=linux", "HOME=/",
		"CONSOLE=/dev/console", "container=vzcluster", "VZ_CTID=" + ctid}
}

// initArgs is the argv of pid 1.
func initArgs(c cluster.Container) []string {
	if len(c.Spec.Init) > 0 {
		return c.Spec.Init
	}
	return []string{"/sbin/init"}
}

// resources are the limits of the cgroups. Disk space is not among them: it is measured, not limited.
func resources(s cluster.Spec) *cgroups.Resources {
	res := &cgroups.Resources{Devices: deviceRules(), Memory: -1, MemorySwap: -1, CpuQuota: -1, CpuPeriod: cpuPeriod}
	if s.Resources.MemoryBytes > 0 {
		res.Memory = clampInt64(s.Resources.MemoryBytes)
		res.MemorySwap = clampInt64(s.Resources.MemoryBytes + min(s.SwapBytes, 1<<62))
	}
	if !swapAccounting() {
		res.MemorySwap = 0
	}
	if milli := cpuMilli(s); milli > 0 {
		res.CpuQuota = max(clampInt64(milli)*cpuPeriod/1000, minCPUQuota)
	}
	units := s.CPUUnits
	if units == 0 {
		units = 1000
	}
	res.CpuShares = min(max(min(units, 1<<32)*1024/1000, 2), 262144)
	res.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(res.CpuShares)
	pids := int64(defaultNumProc)
	if s.NumProc > 0 {
		pids = clampInt64(s.NumProc)
	}
	res.PidsLimit = &pids
	return res
}

const (
	cpuPeriod   = 100000 // microseconds
	minCPUQuota = 1000   // microseconds; the kernel takes no less
)

// cpuMilli is the stricter of the promise and the limit; 0 means no limit.
func cpuMilli(s cluster.Spec) uint64 {
	limit := min(s.CPULimit, 1<<32) * 10
	promise := min(s.Resources.CPUMilli, 1<<32)
	if limit == 0 || (promise != 0 && promise < limit) {
		return promise
	}
	return limit
}

func clampInt64(v uint64) int64 { return int64(min(v, 1<<62)) }

// mounts are those of the container's own making and those that the host prepared (see devices.go). Order matters.
func (r *Runtime) mounts(ctid string) []*configs.Mount {
	const safe = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV
	dev := r.deviceDir(ctid)
	return []*configs.Mount{
		{Device: "proc", Source: "proc", Destination: "/proc", Flags: safe},
		{Device: "sysfs", Source: "sysfs", Destination: "/sys", Flags: safe | unix.MS_RDONLY},
		// The device is not called "bind", since libcontainer reopens init's stdio on the container's own /dev/null only then. CRIU
		// cannot dump an init that holds the host's.
		{Device: "none", Source: dev + "/dev", Destination: "/dev", Flags: unix.MS_BIND | unix.MS_NOSUID | unix.MS_NOEXEC, PropagationFlags: []int{unix.MS_PRIVATE}},
		{Device: "devpts", Source: "devpts", Destination: "/dev/pts", Flags: unix.MS_NOSUID | unix.MS_NOEXEC,
			Data: "newinstance,ptmxmode=0666,mode=0620,gid=5"},
		{Device: "none", Source: dev + "/shm", Destination: "/dev/shm", Flags: unix.MS_BIND | unix.MS_NOSUID | unix.MS_NODEV,
			PropagationFlags: []int{unix.MS_PRIVATE}},
	}
}

// ExternalMount is a mount of the container that the host prepared: CRIU neither dumps nor makes it, it binds Source at Destination.
type ExternalMount struct {
	Key         string // the same on both hosts
	Destination string // in the container
	Source      string // on this host
}

// externalMounts lists what is to be declared external to CRIU, for a container that [Runtime.makeDevices] was called for.
func (r *Runtime) externalMounts(ctid string) []ExternalMount {
	dev := r.deviceDir(ctid)
	ext := []ExternalMount{{"vz-dev", "/dev", dev + "/dev"}, {"vz-shm", "/dev/shm", dev + "/shm"}}
	for _, p := range maskedPaths() {
		src := dev + "/dev/null"
		if isDir(p) {
			src = dev + "/mask"
		}
		ext = append(ext, ExternalMount{"vz-mask-" + p, p, src})
	}
	return ext
}

// deviceRules deny everything but the nodes that makeDevices makes and pseudo terminals.
func deviceRules() []*devices.Rule {
	char := func(major, minor int64) *devices.Rule {
		return &devices.Rule{Type: devices.CharDevice, Major: major, Minor: minor, Permissions: "rwm", Allow: true}
	}
	rules := []*devices.Rule{{Type: devices.WildcardDevice, Major: devices.Wildcard, Minor: devices.Wildcard, Permissions: "rwm"}}
	for _, n := range deviceNodes {
		rules = append(rules, char(int64(n.major), int64(n.minor)))
	}
	return append(rules, char(5, 2), char(136, devices.Wildcard)) // ptmx, pts
}
