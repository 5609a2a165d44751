package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/checkpoint-restore/go-criu/v7/rpc"
	"github.com/opencontainers/runc/libcontainer"
	"google.golang.org/protobuf/proto"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate"
	"github.com/vzcluster/vzcluster/pkg/node/criu"
	"github.com/vzcluster/vzcluster/pkg/node/network"
)

// Restore implements [migrate.TargetEngine].
func (r *Runtime) Restore(ctx context.Context, a migrate.Attempt, dir string) error {
	ctid := a.Container.CTID
	defer r.locks.lock(ctid)()
	t, err := r.prepare(ctx, a)
	if err != nil {
		return fmt.Errorf("restore %s: %w", ctid, err)
	}
	if t.kill != nil {
		return r.again(t)
	}
	if err := r.restore(ctx, a, t, dir); err != nil {
		// Everything of this try goes, so that another one of the same attempt could follow.
		t.end()
		r.moves.setTarget(a, nil)
		return errors.Join(fmt.Errorf("restore %s: %w", ctid, err), r.clean(ctid))
	}
	return nil
}

// again answers a repeated call: the tasks are held, or they were.
func (r *Runtime) again(t *targetMove) error {
	select {
	case <-t.held:
		return nil
	default:
		return errors.New("it is being restored")
	}
}

func (r *Runtime) restore(ctx context.Context, a migrate.Attempt, t *targetMove, dir string) error {
	if err := unpackDevices(filepath.Join(dir, devicesImage), r.deviceDir(a.Container.CTID)); err != nil {
		return err
	}
	if err := openToInit(dir); err != nil {
		return err
	}
	files, err := openImageFiles(dir, r.workDir(a.ID, roleTarget))
	if err != nil {
		return err
	}
	opts := commonOpts(files)
	opts.Root = proto.String(r.mountPoint(a.Container.CTID))
	opts.EvasiveDevices = proto.Bool(true)
	for _, e := range r.externalMounts(a.Container.CTID) {
		opts.ExtMnt = append(opts.ExtMnt, &rpc.ExtMountMap{Key: proto.String(e.Key), Val: proto.String(e.Source)})
	}
	// Held tasks wait for the verdict for as long as it takes: only until then is the caller's context theirs.
	life, kill := context.WithCancel(context.WithoutCancel(ctx))
	t.kill = kill
	go func() {
		defer files.close()
		t.result <- t.worker.Restore(life, opts, r.restoreHooks(a, t))
	}()
	limit, cancel := context.WithTimeout(ctx, criuLimit)
	defer cancel()
	select {
	case <-t.held:
		return r.checkHeld(t)
	case err := <-t.result:
		t.result <- nil // for end
		return errors.Join(err, errors.New("nothing was held"))
	case <-limit.Done():
		return limit.Err()
	}
}

func (r *Runtime) restoreHooks(a migrate.Attempt, t *targetMove) criu.Hooks {
	return criu.Hooks{
		criu.SetupNamespaces: func(ctx context.Context, pid int) error {
			n, ok := r.attachment(a.Container)
			if !ok {
				return network.Loopback(pid)
			}
			n.Unplugged = true
			return network.Attach(ctx, n, pid)
		},
		criu.PostRestore: func(ctx context.Context, pid int) error {
			t.pid = pid
			close(t.held)
			select {
			case err := <-t.verdict:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	}
}

// checkHeld looks at what CRIU says it has made, before this side votes for it.
func (r *Runtime) checkHeld(t *targetMove) error {
	all, err := pids(t.manager)
	if err != nil {
		return err
	}
	if p := findInit(all); p == 0 || p != t.pid {
		return fmt.Errorf("the restored init %d is not in its cgroups", t.pid)
	}
	return nil
}

// Release implements [migrate.TargetEngine].
func (r *Runtime) Release(ctx context.Context, a migrate.Attempt, epoch cluster.Epoch) error {
	ctid := a.Container.CTID
	defer r.locks.lock(ctid)()
	t, _ := r.moves.target(a)
	var err error
	if t != nil && t.pid != 0 {
		err = r.release(ctx, a, t, epoch)
	} else {
		err = r.resume(ctx, a, epoch)
	}
	if err != nil {
		return fmt.Errorf("release %s: %w", ctid, err)
	}
	return nil
}

// release lets held tasks run.
func (r *Runtime) release(ctx context.Context, a migrate.Attempt, t *targetMove, epoch cluster.Epoch) error {
	ctid := a.Container.CTID
	if err := r.makeLive(a, epoch); err != nil {
		return fmt.Errorf("its tasks are still held: %w", err)
	}
	n, networked := r.attachment(a.Container)
	if networked {
		// Before the tasks leave repair mode: they then send window probes, and clients learn at once that they are back.
		if err := network.Plug(n); err != nil {
			return fmt.Errorf("its files are live, its tasks are still held: %w", err)
		}
	}
	t.verdict <- nil
	if networked {
		if err := network.Announce(context.WithoutCancel(ctx), n); err != nil {
			r.log.Warn("container not announced; its network learns it from its traffic", "ctid", ctid, "err", err)
		}
	}
	err := t.settle(ctx)
	r.moves.setTarget(a, nil)
	if err != nil && !processAlive(t.pid) {
		return errors.Join(migrate.ErrLost, fmt.Errorf("its files are live, its tasks died: %w", err), r.clean(ctid))
	}
	if err != nil {
		r.log.Error("criu failed after the release; the container runs", "ctid", ctid, "migration", a.ID, "err", err)
	}
	if networked {
		r.calm(ctid, t.pid)
	}
	if _, err := r.adopt(ctid, t.cfg, t.manager, t.pid); err != nil {
		return fmt.Errorf("its files are live and its tasks run, init is %d: %w", t.pid, err)
	}
	return os.RemoveAll(r.workDir(a.ID, roleTarget))
}

// calm ends the haste with which an unplugged device asks for neighbours; without it the container works as well.
func (r *Runtime) calm(ctid string, pid int) {
	if err := network.Calm(pid); err != nil {
		r.log.Warn("the container's device keeps asking for neighbours in haste", "ctid", ctid, "err", err)
	}
}

// settle waits for CRIU's end after the verdict.
func (t *targetMove) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
	defer cancel()
	select {
	case err := <-t.result:
		t.kill() // nothing is left to kill: this only frees the context
		return err
	case <-ctx.Done():
		// It has let go of the tasks or never will: without its answer, what counts is whether they run.
		return errors.New("criu did not end")
	}
}

// makeLive turns the staging directory into the container's root under the new epoch. The record is durable before the root counts.
// Idempotent.
func (r *Runtime) makeLive(a migrate.Attempt, epoch cluster.Epoch) error {
	ctid := a.Container.CTID
	rec := recordOf(a.Container)
	rec.Epoch, rec.Spec.Epoch = epoch, epoch
	if old, ok, err := r.held(ctid); err != nil {
		return err
	} else if ok {
		if old.Epoch >= epoch {
			return nil
		}
		return fmt.Errorf("this host holds a copy of epoch %d", old.Epoch)
	}
	root, ok := r.Staged(a)
	if !ok {
		return errors.New("nothing is staged")
	}
	if err := writeRecord(r.confPath(ctid), rec); err != nil {
		return err
	}
	if err := renameDurably(root, r.rootDir(ctid)); err != nil {
		return err
	}
	return os.RemoveAll(r.stageDir(ctid, a.ID))
}

// resume carries a release on that another agent, or another boot of this host, has begun. It restores nothing.
func (r *Runtime) resume(ctx context.Context, a migrate.Attempt, epoch cluster.Epoch) error {
	ctid := a.Container.CTID
	// An answered CRIU is about to end; an unanswered one kills its tasks.
	if err := r.awaitWork(ctx, a.ID, roleTarget); err != nil {
		return err
	}
	_, st, _, err := r.running(ctid)
	if err != nil {
		return err
	}
	if err := r.makeLive(a, epoch); err != nil {
		return err
	}
	if st != libcontainer.Stopped {
		return nil
	}
	m, cfg, err := r.newCgroups(a.Container)
	if err != nil {
		return err
	}
	all, err := pids(m)
	if err != nil {
		return err
	}
	pid := findInit(all)
	if pid == 0 {
		return errors.Join(migrate.ErrLost, r.clean(ctid))
	}
	if n, ok := r.attachment(a.Container); ok {
		if err := errors.Join(network.Plug(n), network.Announce(context.WithoutCancel(ctx), n)); err != nil {
			return fmt.Errorf("its files are live and its tasks run, init is %d: %w", pid, err)
		}
		r.calm(ctid, pid)
	}
	if _, err := r.adopt(ctid, cfg, m, pid); err != nil {
		return fmt.Errorf("its files are live and its tasks run, init is %d: %w", pid, err)
	}
	return nil
}

// awaitWork waits until the worker of an earlier agent has ended, and kills it when it does not.
func (r *Runtime) awaitWork(ctx context.Context, attempt, role string) error {
	dir := r.workDir(attempt, role)
	wait, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	if err := criu.AwaitStale(wait, dir); err == nil {
		return os.RemoveAll(dir)
	}
	return r.endWork(ctx, attempt, role)
}

func processAlive(pid int) bool {
	v, err := statusField(pid, "State")
	return err == nil && v != "" && v[0] != 'Z' && v[0] != 'X'
}

// openToInit makes the images readable for the restored init, which opens some of them by itself: at first as a root of the host that
// has lost its capabilities, then with the ids of its user namespace. So everybody may read the files and pass through the directory,
// which nobody else can reach: its parent is closed, and the images lie outside of what the container can see.
func openToInit(dir string) error {
	if err := os.Chmod(dir, 0o711); err != nil {
		return err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := os.Chmod(filepath.Join(dir, f.Name()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
