package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/vishvananda/netlink"

	"github.com/vzcluster/vzcluster/pkg/node/network"
)

// Sweep implements [node.Runtime]. It is called before any order and before [Runtime.Run]. Containers with a kept attempt are left
// alone entirely: their migration decides. A start that the agent did not live to finish is finished: init waits at its FIFO.
func (r *Runtime) Sweep(ctx context.Context, keep map[string]bool) error {
	busy, err := r.sweepStaging(keep)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	errs := []error{
		r.sweepWork(ctx, keep),
		removeEntries(r.imageBase(), func(name string) bool { return keep[name] }),
		removeEntries(r.retiredBase(), func(string) bool { return false }),
		r.sweepRecords(busy),
	}
	remains, err := r.remains()
	errs = append(errs, err)
	for ctid := range remains {
		if !busy[ctid] {
			errs = append(errs, r.sweepRemains(ctx, ctid))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	return nil
}

// sweepStaging removes staging directories of attempts that are not kept and returns the containers of those that are.
func (r *Runtime) sweepStaging(keep map[string]bool) (busy map[string]bool, err error) {
	busy = map[string]bool{}
	err = removeEntries(r.stagingBase(), func(name string) bool {
		ctid, attempt, _ := strings.Cut(name, ".")
		if keep[attempt] && attempt != createAttempt {
			busy[ctid] = true
			return true
		}
		return false
	})
	return busy, err
}

// sweepRecords removes records without a root.
func (r *Runtime) sweepRecords(busy map[string]bool) error {
	es, err := os.ReadDir(r.confDir())
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range es {
		ctid, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok { // a temporary name
			errs = append(errs, os.Remove(filepath.Join(r.confDir(), e.Name())))
			continue
		}
		if _, err := os.Lstat(r.rootDir(ctid)); errors.Is(err, fs.ErrNotExist) && !busy[ctid] {
			r.log.Info("remove a record without a root", "ctid", ctid)
			errs = append(errs, r.forget(ctid))
		}
	}
	return errors.Join(errs...)
}

// remains lists every container of which something is there that exists while it runs.
func (r *Runtime) remains() (map[string]bool, error) {
	ids := map[string]bool{}
	var errs []error
	dirs := []string{r.stateRoot(), r.deviceBase(), r.mountPoint("")}
	for _, root := range cgroupRoots() {
		dirs = append(dirs, filepath.Join(root, r.cfg.CgroupParent))
	}
	for _, dir := range dirs {
		es, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, e := range es {
			if e.IsDir() && isCTID(e.Name()) {
				ids[e.Name()] = true
			}
		}
	}
	links, err := netlink.LinkList()
	if err != nil {
		errs = append(errs, fmt.Errorf("list network devices: %w", err))
	}
	for _, l := range links {
		if ctid, ok := strings.CutPrefix(l.Attrs().Name, network.HostName("")); ok && isCTID(ctid) {
			ids[ctid] = true
		}
	}
	return ids, errors.Join(errs...)
}

// sweepRemains cleans up after a container that no longer runs, and finishes a start.
func (r *Runtime) sweepRemains(ctx context.Context, ctid string) error {
	defer r.locks.lock(ctid)()
	lc, st, _, err := r.running(ctid)
	if err != nil {
		return err
	}
	rec, ok, err := r.held(ctid)
	if err != nil {
		return err
	}
	switch {
	case st == libcontainer.Created && ok:
		if err := r.finishStart(ctx, rec.Spec, lc); err != nil {
			r.log.Warn("a start could not be finished", "ctid", ctid, "err", err)
			return r.clean(ctid)
		}
		return nil
	case st == libcontainer.Stopped || !ok:
		return r.clean(ctid)
	}
	return nil
}

func isCTID(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// removeEntries empties a directory but for what is kept.
func removeEntries(dir string, keep func(name string) bool) error {
	es, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range es {
		if !keep(e.Name()) {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}
