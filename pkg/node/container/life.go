package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/vzcluster/vzcluster/pkg/node/network"
)

// running tells whether libcontainer knows a live init of ctid, and in which state it is.
func (r *Runtime) running(ctid string) (lc *libcontainer.Container, st libcontainer.Status, pid int, err error) {
	lc, err = r.load(ctid)
	if lc == nil || err != nil {
		return nil, libcontainer.Stopped, 0, err
	}
	st, err = lc.Status()
	if err != nil {
		return nil, 0, 0, fmt.Errorf("status of %s: %w", ctid, err)
	}
	s, err := lc.State()
	if err != nil {
		return nil, 0, 0, fmt.Errorf("state of %s: %w", ctid, err)
	}
	if !alive(s.InitProcessPid, s.InitProcessStartTime) {
		// libcontainer calls an empty frozen cgroup paused.
		return lc, libcontainer.Stopped, 0, nil
	}
	return lc, st, s.InitProcessPid, nil
}

// watchRunning takes up the containers that run already.
func (r *Runtime) watchRunning() error {
	es, err := os.ReadDir(r.stateRoot())
	if err != nil {
		return fmt.Errorf("watch containers: %w", err)
	}
	for _, e := range es {
		_, st, pid, err := r.running(e.Name())
		if err != nil {
			r.log.Warn("cannot watch container", "ctid", e.Name(), "err", err)
			continue
		}
		if st != libcontainer.Stopped {
			r.watch.add(e.Name(), pid)
		}
	}
	return nil
}

// afterExit cleans up after an init that ended by itself.
func (r *Runtime) afterExit(ctid string) {
	defer r.locks.lock(ctid)()
	_, st, _, err := r.running(ctid)
	if err == nil && st != libcontainer.Stopped {
		return // started again meanwhile
	}
	if err == nil {
		err = r.clean(ctid)
	}
	if err != nil {
		r.log.Error("clean up after a container's exit", "ctid", ctid, "err", err)
		return
	}
	r.log.Info("container ended", "ctid", ctid)
}

// clean removes everything that a container has while it runs: processes, cgroups, network device, mounts, state. Idempotent.
func (r *Runtime) clean(ctid string) error {
	return errors.Join(
		r.destroyCgroups(ctid),
		r.detachConsole(ctid),
		network.Detach(network.HostName(ctid)),
		r.unmountRoot(ctid),
		r.removeDevices(ctid),
		os.RemoveAll(filepath.Join(r.stateRoot(), ctid)),
	)
}

// killAll kills every process in a container's cgroups and waits until they are gone. In a frozen cgroup of v1 a signal waits for the thaw, so
// all are killed before it, and none runs again.
func killAll(m cgroups.Manager) error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		pids, err := m.GetAllPids()
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		for _, p := range pids {
			_ = unix.Kill(p, unix.SIGKILL)
		}
		if st, err := m.GetFreezerState(); err == nil && st == cgroups.Frozen {
			// A fork that was under way when the freezer struck cannot have made a child that we did not see: all are stopped.
			if err := m.Freeze(cgroups.Thawed); err != nil {
				return err
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes do not die", len(pids))
		}
		wait(context.Background(), 2*time.Millisecond)
	}
}

// wait pauses unless ctx ends first.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
