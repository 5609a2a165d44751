package master

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// incompatible tells why a running container can't go from one host to another, in words for the operator; empty: it can. Comparing
// beforehand is cheap; finding out at the restore would cost a freeze.
func incompatible(src, dst cluster.Node) string {
	a, b := src.Info.Features, dst.Info.Features
	for _, n := range []cluster.Node{src, dst} {
		if n.Info.Features.CRIU == "" || n.Info.Features.CRIUVersion == 0 {
			return fmt.Sprintf("node %s has no usable CRIU", n.Name)
		}
	}
	if a.CRIUVersion/100 != b.CRIUVersion/100 {
		return fmt.Sprintf("CRIU %s on %s and %s on %s: the first two parts of the version must be equal", a.CRIU, src.Name, b.CRIU, dst.Name)
	}
	if a.Arch != b.Arch {
		return fmt.Sprintf("%s on %s, %s on %s", a.Arch, src.Name, b.Arch, dst.Name)
	}
	if a.Cgroup != b.Cgroup {
		return fmt.Sprintf("cgroup %s on %s, %s on %s", a.Cgroup, src.Name, b.Cgroup, dst.Name)
	}
	if olderKernel(b.Kernel, a.Kernel) {
		return fmt.Sprintf("kernel %s on %s is older than %s on %s", b.Kernel, dst.Name, a.Kernel, src.Name)
	}
	if !slices.ContainsFunc(a.Transfer, func(v int32) bool { return slices.Contains(b.Transfer, v) }) {
		return fmt.Sprintf("%s and %s speak no common version of the transfer protocol (%v, %v): upgrade one", src.Name, dst.Name, a.Transfer, b.Transfer)
	}
	var lacks []string
	for _, f := range a.CPUFlags {
		if !slices.Contains(b.CPUFlags, f) {
			lacks = append(lacks, f)
		}
	}
	if n := len(lacks); n > 0 {
		if n > 5 {
			lacks = append(lacks[:5], fmt.Sprintf("and %d more", n-5))
		}
		return fmt.Sprintf("the CPU of %s lacks what that of %s has: %s", dst.Name, src.Name, strings.Join(lacks, ", "))
	}
	return ""
}

// olderKernel compares major.minor of two kernel releases. What can't be read is not older.
func olderKernel(a, b string) bool {
	var a1, a2, b1, b2 int
	if n, _ := fmt.Sscanf(a, "%d.%d", &a1, &a2); n != 2 {
		return false
	}
	if n, _ := fmt.Sscanf(b, "%d.%d", &b1, &b2); n != 2 {
		return false
	}
	return a1 < b1 || (a1 == b1 && a2 < b2)
}
