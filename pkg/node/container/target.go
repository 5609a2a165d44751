package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/vzcluster/vzcluster/pkg/migrate"
	"github.com/vzcluster/vzcluster/pkg/node/criu"
)

// targetMove is a restore that waits for its request, or for the verdict. It dies with the agent: CRIU then kills what it restored.
type targetMove struct {
	attempt string
	worker  *criu.Worker
	cfg     *configs.Config
	manager cgroups.Manager

	pid     int                // of the restored init, on this host; set before held is closed
	held    chan struct{}      // closed when every task is parked
	verdict chan error         // nil lets them run
	kill    context.CancelFunc // ends the restore and kills what it made
	result  chan error         // of CRIU, once
}

// Reserve implements [migrate.TargetEngine].
func (r *Runtime) Reserve(_ context.Context, a migrate.Attempt) (string, error) {
	ctid := a.Container.CTID
	defer r.locks.lock(ctid)()
	if err := r.mayReceive(a); err != nil {
		return "", fmt.Errorf("reserve %s: %w", ctid, err)
	}
	stage := r.stageDir(ctid, a.ID)
	root := stageRoot(stage)
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", fmt.Errorf("reserve %s: %w", ctid, err)
	}
	// The parent is closed to everybody: the root's own permissions come with the transfer.
	if err := os.Chmod(stage, 0o700); err != nil {
		return "", fmt.Errorf("reserve %s: %w", ctid, err)
	}
	if err := writeRecord(stageRecord(stage), recordOf(a.Container)); err != nil {
		return "", fmt.Errorf("reserve %s: %w", ctid, err)
	}
	if err := syncDir(r.stagingBase()); err != nil {
		return "", fmt.Errorf("reserve %s: %w", ctid, err)
	}
	return root, nil
}

// mayReceive refuses while this host holds a copy, whatever its epoch: an owner would overwrite itself, and a dead copy has to be
// removed by an order that names it.
func (r *Runtime) mayReceive(a migrate.Attempt) error {
	ctid := a.Container.CTID
	rec, ok, err := r.held(ctid)
	if err != nil {
		return err
	}
	if ok {
		return fmt.Errorf("this host holds a copy of epoch %d", rec.Epoch)
	}
	if t, other := r.moves.target(a); other {
		return errors.New("another attempt to move it here is open")
	} else if t != nil && t.pid != 0 {
		return errors.New("it is being restored")
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(r.privateDir(), &fs); err != nil {
		return err
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < a.Container.Spec.Resources.DiskBytes {
		return fmt.Errorf("%d MiB of disk free, %d MiB promised", free>>20, a.Container.Spec.Resources.DiskBytes>>20)
	}
	return nil
}

// Staged implements [migrate.TargetEngine].
func (r *Runtime) Staged(a migrate.Attempt) (string, bool) {
	root := stageRoot(r.stageDir(a.Container.CTID, a.ID))
	fi, err := os.Lstat(root)
	return root, err == nil && fi.IsDir()
}

// ImportConsoleLog implements [migrate.TargetEngine].
func (r *Runtime) ImportConsoleLog(_ context.Context, a migrate.Attempt, file string) error {
	to := r.consoleLog(a.Container.CTID)
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return fmt.Errorf("import console log: %w", err)
	}
	err := os.Rename(file, to)
	if errors.Is(err, unix.EXDEV) {
		var b []byte
		if b, err = os.ReadFile(file); err == nil {
			err = errors.Join(writeDurably(to, b, 0o640), os.Remove(file))
		}
	}
	if err != nil {
		return fmt.Errorf("import console log: %w", err)
	}
	return nil
}

// Prepare implements [migrate.TargetEngine].
func (r *Runtime) Prepare(ctx context.Context, a migrate.Attempt) error {
	defer r.locks.lock(a.Container.CTID)()
	if _, err := r.prepare(ctx, a); err != nil {
		return fmt.Errorf("prepare %s: %w", a.Container.CTID, err)
	}
	return nil
}

func (r *Runtime) prepare(ctx context.Context, a migrate.Attempt) (*targetMove, error) {
	ctid := a.Container.CTID
	t, other := r.moves.target(a)
	if other {
		return nil, errors.New("another attempt to move it here is open")
	}
	if t != nil {
		return t, nil
	}
	root, ok := r.Staged(a)
	if !ok {
		return nil, errors.New("nothing is staged")
	}
	if err := r.mayReceive(a); err != nil {
		return nil, err
	}
	// What a killed agent left of an earlier try must not come among the restored.
	if err := r.endWork(ctx, a.ID, roleTarget); err != nil {
		return nil, err
	}
	if err := r.clean(ctid); err != nil {
		return nil, err
	}
	t, err := r.makeReady(ctx, a, root)
	if err != nil {
		return nil, errors.Join(err, r.clean(ctid))
	}
	r.moves.setTarget(a, t)
	return t, nil
}

func (r *Runtime) makeReady(ctx context.Context, a migrate.Attempt, root string) (*targetMove, error) {
	ctid := a.Container.CTID
	t := &targetMove{attempt: a.ID, held: make(chan struct{}), verdict: make(chan error, 1), result: make(chan error, 1)}
	var err error
	// With the limits in force before anything is restored into them.
	if t.manager, t.cfg, err = r.prepareCgroups(a.Container); err != nil {
		return nil, err
	}
	if err := r.mountRoot(ctid, root); err != nil {
		return nil, err
	}
	if err := r.makeDevices(ctid, a.Container.IDBase); err != nil {
		return nil, err
	}
	if err := r.attachConsole(ctx, ctid); err != nil {
		return nil, err
	}
	t.worker, err = r.worker(ctx, a.ID, roleTarget, cgroupDirs(t.manager))
	return t, err
}

// cgroupDirs are the container's cgroups, each once: some controllers share a hierarchy.
func cgroupDirs(m cgroups.Manager) []string {
	var dirs []string
	for _, d := range m.GetPaths() {
		dirs = append(dirs, d)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// Discard implements [migrate.TargetEngine].
func (r *Runtime) Discard(ctx context.Context, a migrate.Attempt) error {
	ctid := a.Container.CTID
	defer r.locks.lock(ctid)()
	t, other := r.moves.target(a)
	if t != nil {
		t.end()
		r.moves.setTarget(a, nil)
	}
	errs := []error{r.endWork(ctx, a.ID, roleTarget)}
	_, ok, err := r.held(ctid)
	errs = append(errs, err)
	// Names of processes, devices and mounts carry no attempt: they are another's if another attempt is open, or if the container has
	// come here by another.
	if !ok && !other && err == nil {
		errs = append(errs, r.clean(ctid), removeIfThere(r.confPath(ctid)))
	}
	errs = append(errs, os.RemoveAll(r.stageDir(ctid, a.ID)), os.RemoveAll(r.imageDir(a.ID)))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("discard %s of %s: %w", a.ID, ctid, err)
	}
	return nil
}

// end kills the worker and everything that it restored, and waits for that.
func (t *targetMove) end() {
	if t.kill != nil {
		t.kill()
	}
	t.worker.Kill()
	if t.kill != nil {
		select {
		case <-t.result:
		case <-time.After(settleLimit):
		}
	}
}

func removeIfThere(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
