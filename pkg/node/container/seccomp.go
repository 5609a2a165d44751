package container

import (
	"runtime"

	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// deniedSyscalls fail with EPERM in every container. A system container runs a whole distribution, so this is a list of what must not
// be, as with LXC, rather than of what may be: handles of the kernel itself, of its memory, of its tracing, and of other file systems.
var deniedSyscalls = []string{
	// kernel code and boot
	"init_module", "finit_module", "delete_module", "create_module", "query_module", "get_kernel_syms", "kexec_load", "kexec_file_load",
	"bpf", "perf_event_open", "lookup_dcookie", "nfsservctl", "uselib", "ustat", "sysfs", "_sysctl", "vm86", "vm86old",
	// hardware
	"ioperm", "iopl", "pciconfig_read", "pciconfig_write", "pciconfig_iobase",
	// the host's clock and quota, swap and accounting
	"settimeofday", "stime", "clock_settime", "clock_settime64", "clock_adjtime", "clock_adjtime64", "adjtimex",
	"quotactl", "quotactl_fd", "swapon", "swapoff", "acct",
	// file handles pass by every path check; userfaultfd lengthens races in the kernel
	"open_by_handle_at", "userfaultfd",
	// the kernel's keyring and log; fanotify needs the initial namespace
	"add_key", "request_key", "keyctl", "syslog", "fanotify_init",
	// another's memory policy
	"move_pages", "migrate_pages",
}

// missingSyscalls fail with ENOSYS, so that programs fall back: CRIU cannot dump a ring.
var missingSyscalls = []string{"io_uring_setup", "io_uring_enter", "io_uring_register"}

// seccompFilter is the default filter, of all containers.
func seccompFilter() *configs.Seccomp {
	f := &configs.Seccomp{DefaultAction: configs.Allow, Architectures: seccompArchs()}
	deny := func(names []string, errno unix.Errno) {
		for _, n := range names {
			ret := uint(errno)
			f.Syscalls = append(f.Syscalls, &configs.Syscall{Name: n, Action: configs.Errno, ErrnoRet: &ret})
		}
	}
	deny(deniedSyscalls, unix.EPERM)
	deny(missingSyscalls, unix.ENOSYS)
	return f
}

// seccompArchs covers every way of entering the kernel that the processor has; another architecture's calls kill the process.
func seccompArchs() []string {
	switch runtime.GOARCH {
	case "amd64":
		return []string{"amd64", "x86", "x32"}
	case "arm64":
		return []string{"arm64", "arm"}
	}
	return []string{runtime.GOARCH}
}
