package container

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/node/criu"
)

// Info implements [node.Runtime]. A CRIU that is missing or too old is logged and leaves its fields empty: the node runs containers, but
// does not migrate them. Features.Transfer is the agent's to fill in.
func (r *Runtime) Info(ctx context.Context) (cluster.NodeInfo, error) {
	info := cluster.NodeInfo{Address: r.cfg.Address, Version: cluster.Version, Capacity: r.cfg.Capacity}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return info, fmt.Errorf("probe host: %w", err)
	}
	f := &info.Features
	f.Kernel, f.Arch, f.Cgroup, f.CPUFlags = unix.ByteSliceToString(uts.Release[:]), runtime.GOARCH, cgroupMode(), cpuFlags()
	if c, err := criu.Probe(ctx, r.cfg.CRIU); err != nil {
		r.log.Warn("no migration from or to this host", "err", err)
	} else {
		f.CRIU, f.CRIUVersion = c.Version, c.Number
		if c.SlowStart {
			r.log.Warn("/run is not a tmpfs: each freeze takes about 40 ms more")
		}
	}
	if info.Capacity.CPUMilli == 0 {
		info.Capacity.CPUMilli = uint64(runtime.NumCPU()) * 1000
	}
	if info.Capacity.MemoryBytes == 0 {
		var si unix.Sysinfo_t
		if err := unix.Sysinfo(&si); err != nil {
			return info, fmt.Errorf("probe memory: %w", err)
		}
		info.Capacity.MemoryBytes = uint64(si.Totalram) * uint64(si.Unit)
	}
	if info.Capacity.DiskBytes == 0 {
		var st unix.Statfs_t
		if err := unix.Statfs(r.privateDir(), &st); err != nil {
			return info, fmt.Errorf("probe disk: %w", err)
		}
		info.Capacity.DiskBytes = st.Blocks * uint64(st.Bsize)
	}
	return info, nil
}

func cgroupMode() string {
	switch {
	case cgroups.IsCgroup2UnifiedMode():
		return "v2"
	case cgroups.IsCgroup2HybridMode():
		return "hybrid"
	}
	return "v1"
}

// cpuFlags are those of the first processor, sorted.
func cpuFlags() []string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		key, val, _ := strings.Cut(line, ":")
		if k := strings.TrimSpace(key); k == "flags" || k == "Features" {
			f := strings.Fields(val)
			slices.Sort(f)
			return f
		}
	}
	return nil
}
