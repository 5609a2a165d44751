package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/devices" // lets the managers write device rules
	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/runc/libcontainer/configs"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// newCgroups returns the manager of a container's cgroups, whether they exist or not. [cgroups.Manager.Apply] makes them and moves a
// process in; limits are in force only after Set, so a restore calls Set before anything is in them.
func (r *Runtime) newCgroups(c cluster.Container) (cgroups.Manager, *configs.Config, error) {
	cfg := r.config(c)
	m, err := manager.New(cfg.Cgroups)
	if err != nil {
		return nil, nil, fmt.Errorf("cgroups of %s: %w", c.CTID, err)
	}
	return m, cfg, nil
}

// prepareCgroups makes a container's cgroups empty and with their limits set, for CRIU to be put into.
func (r *Runtime) prepareCgroups(c cluster.Container) (cgroups.Manager, *configs.Config, error) {
	m, cfg, err := r.newCgroups(c)
	if err != nil {
		return nil, nil, err
	}
	if err := m.Apply(-1); err != nil { // -1: make them, move nobody
		return nil, nil, fmt.Errorf("make cgroups of %s: %w", c.CTID, err)
	}
	if err := m.Set(cfg.Cgroups.Resources); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("set limits of %s: %w", c.CTID, err), m.Destroy())
	}
	return m, cfg, nil
}

// destroyCgroups kills what is left in a container's cgroups and removes them. Frozen tasks are killed before they are thawed, so that
// none of them runs.
func (r *Runtime) destroyCgroups(ctid string) error {
	m, err := manager.New(&cgroups.Cgroup{Path: r.cgroupPath(ctid), Resources: &cgroups.Resources{}})
	if err != nil {
		return fmt.Errorf("cgroups of %s: %w", ctid, err)
	}
	if err := killAll(m); err != nil {
		return fmt.Errorf("kill what runs in %s: %w", ctid, err)
	}
	if err := m.Destroy(); err != nil {
		return fmt.Errorf("remove cgroups of %s: %w", ctid, err)
	}
	return nil
}

// cgroupRoots are the directories that hold our parent: one per hierarchy of v1, the unified one last.
func cgroupRoots() []string {
	if cgroups.IsCgroup2UnifiedMode() {
		return []string{"/sys/fs/cgroup"}
	}
	var roots []string
	es, _ := os.ReadDir("/sys/fs/cgroup")
	for _, e := range es {
		if e.IsDir() {
			roots = append(roots, filepath.Join("/sys/fs/cgroup", e.Name()))
		}
	}
	return roots
}

// RemoveCgroupParent removes the cgroup, in all hierarchies, that a runtime with this parent made for its containers. It must be empty: this
// is called when the host's last container is gone, by whoever takes the whole host down. What is above it may be others' and stays.
func RemoveCgroupParent(parent string) error {
	var errs []error
	for _, root := range cgroupRoots() {
		if err := os.Remove(filepath.Join(root, filepath.Clean("/"+parent))); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// swapAccounting tells whether this kernel can limit swap.
var swapAccounting = sync.OnceValue(func() bool {
	if cgroups.IsCgroup2UnifiedMode() {
		return true // the manager passes over a missing memory.swap.max
	}
	_, err := os.Stat("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
	return err == nil
})
