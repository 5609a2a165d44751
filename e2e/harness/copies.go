package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// Copy is one copy of a container with processes, as the kernel shows it: not what anybody says.
type Copy struct {
	Host   string
	Tasks  int
	Frozen bool
}

func (c Copy) String() string {
	if c.Frozen {
		return fmt.Sprintf("%s (%d tasks, frozen)", c.Host, c.Tasks)
	}
	return fmt.Sprintf("%s (%d tasks)", c.Host, c.Tasks)
}

// KernelCopies looks into the cgroups of every lab host for processes of a container.
func (c *Cluster) KernelCopies(ctid string) ([]Copy, error) {
	hosts, err := c.Lab.Hosts()
	if err != nil {
		return nil, err
	}
	var out []Copy
	for _, h := range hosts {
		dir, ok := cgroupDir(c.Lab.CgroupParent(h.Name), ctid)
		if !ok {
			continue
		}
		n, err := tasks(dir)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			out = append(out, Copy{Host: h.Name, Tasks: n, Frozen: frozen(dir)})
		}
	}
	return out, nil
}

// cgroupDir finds a container's cgroup in the hierarchy that can freeze: v1's freezer, else v2.
func cgroupDir(parent, ctid string) (string, bool) {
	for _, root := range []string{"/sys/fs/cgroup/freezer", "/sys/fs/cgroup"} {
		dir := filepath.Join(root, parent, ctid)
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil {
			return dir, true
		}
	}
	return "", false
}

// tasks counts the processes of a cgroup and those below it.
func tasks(dir string) (n int, err error) {
	err = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() != "cgroup.procs" {
			return ignoreGone(err)
		}
		b, err := os.ReadFile(p)
		n += len(strings.Fields(string(b)))
		return ignoreGone(err)
	})
	return n, err
}

// ignoreGone: a cgroup that goes away while it is read has no tasks.
func ignoreGone(err error) error {
	if os.IsNotExist(err) || (err != nil && strings.Contains(err.Error(), "no such device")) {
		return nil
	}
	return err
}

func frozen(dir string) bool {
	if b, err := os.ReadFile(filepath.Join(dir, "freezer.state")); err == nil {
		return strings.TrimSpace(string(b)) != "THAWED"
	}
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.freeze"))
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

// OneCopy waits until exactly one copy of the container exists in the kernel, running, on the node that the record names, with no
// migration open, no dead copy reported by any node, and returns the node. It fails when that is not so at the deadline.
func (c *Cluster) OneCopy(ctx context.Context, ctid string, within time.Duration) (string, error) {
	deadline := time.Now().Add(within)
	for {
		node, err := c.oneCopy(ctx, ctid)
		if err == nil {
			return node, nil
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("no single running copy of %s within %s: %w", ctid, within, err)
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (c *Cluster) oneCopy(ctx context.Context, ctid string) (string, error) {
	r, err := c.Container(ctx, ctid)
	if err != nil {
		return "", err
	}
	if r.Migration != "" {
		return "", fmt.Errorf("migration %s is open", r.Migration)
	}
	copies, err := c.KernelCopies(r.CTID)
	if err != nil {
		return "", err
	}
	if len(copies) != 1 || copies[0].Frozen || copies[0].Host != r.Node {
		return "", fmt.Errorf("the record says %s, the kernel has %v", r.Node, copies)
	}
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return "", err
	}
	var reported []string
	for _, n := range nodes {
		if n.Live == nil || n.State != cluster.NodeOnline { // what a dead host said last does not count
			continue
		}
		for _, p := range n.Live.Copies {
			if p.CTID == r.CTID {
				reported = append(reported, fmt.Sprintf("%s: epoch %d %s", n.Name, p.Epoch, p.State))
			}
		}
	}
	if len(reported) != 1 {
		return "", fmt.Errorf("the nodes report %v", reported)
	}
	return r.Node, nil
}
