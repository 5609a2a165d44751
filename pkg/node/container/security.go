package container

import (
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// capabilities is what init and exec'd processes may have. They are relative to the container's user namespace. Left out is what
// reaches the machine itself even from a container, or what a system container has no use for: SYS_MODULE, SYS_RAWIO, SYS_TIME,
// SYS_PACCT, SYS_RESOURCE, SYSLOG, MKNOD (nodes come from the host), MAC_*, AUDIT_CONTROL, AUDIT_READ, LINUX_IMMUTABLE, WAKE_ALARM,
// BLOCK_SUSPEND, PERFMON, BPF, CHECKPOINT_RESTORE. A privileged container also lacks DAC_READ_SEARCH (open_by_handle_at reaches any
// file of the file system with it) and SYS_PTRACE. Inheritable and ambient sets are empty.
func capabilities(privileged bool) *configs.Capabilities {
	caps := []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",
		"CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER",
		"CAP_SYS_CHROOT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_TTY_CONFIG", "CAP_LEASE", "CAP_AUDIT_WRITE",
		"CAP_SETFCAP",
	}
	if !privileged {
		caps = append(caps, "CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE")
	}
	return &configs.Capabilities{Bounding: caps, Effective: caps, Permitted: caps}
}

// maskedPaths is runc's list, reduced to what this kernel has: files are covered with /dev/null, directories with an empty one.
func maskedPaths() []string {
	var have []string
	for _, p := range []string{"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware"} {
		if _, err := os.Lstat(p); err == nil {
			have = append(have, p)
		}
	}
	return have
}

func isDir(p string) bool {
	fi, err := os.Lstat(p)
	return err == nil && fi.IsDir()
}

// rlimits gives containers the classic soft limit of open files, with the agent's hard limit: without CAP_SYS_RESOURCE none can be
// raised, and CRIU would fail to restore a higher one.
func rlimits() []configs.Rlimit {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return nil
	}
	return []configs.Rlimit{{Type: unix.RLIMIT_NOFILE, Soft: min(1024, l.Max), Hard: l.Max}}
}

// oomScoreAdj is 0 if the agent itself is protected from the OOM killer: containers must not inherit that.
func oomScoreAdj() *int {
	b, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return nil
	}
	if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err != nil || n >= 0 {
		return nil
	}
	return new(int)
}
