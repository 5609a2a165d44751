package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/checkpoint-restore/go-criu/v7/rpc"

	"github.com/vzcluster/vzcluster/pkg/migrate"
	"github.com/vzcluster/vzcluster/pkg/node/criu"
	"github.com/vzcluster/vzcluster/pkg/node/network"
)

// sourceMove is what a source has armed. After a restart of the agent there is none: the freezer and the bridge port still hold.
type sourceMove struct {
	attempt string
	worker  *criu.Worker
	holder  *network.Holder
}

// abandon lets go of everything without touching the container.
func (s *sourceMove) abandon() {
	if s.worker != nil {
		s.worker.Kill()
		s.worker = nil
	}
	if s.holder != nil {
		h := s.holder
		s.holder = nil
		time.AfterFunc(drain, func() { _ = h.Close() })
	}
}

// Root implements [migrate.SourceEngine].
func (r *Runtime) Root(a migrate.Attempt) string { return r.rootDir(a.Container.CTID) }

// ConsoleLog implements [migrate.SourceEngine].
func (r *Runtime) ConsoleLog(a migrate.Attempt) string { return r.consoleLog(a.Container.CTID) }

// MappedFiles implements [migrate.SourceEngine].
func (r *Runtime) MappedFiles(_ context.Context, a migrate.Attempt) ([]string, error) {
	m, _, err := r.newCgroups(a.Container)
	if err != nil {
		return nil, err
	}
	all, err := pids(m)
	if err != nil {
		return nil, fmt.Errorf("mapped files of %s: %w", a.Container.CTID, err)
	}
	var files []string
	for _, pid := range all {
		maps, err := mappings(pid)
		if err != nil {
			continue // it has ended
		}
		for _, mp := range maps {
			if len(mp.perms) == 4 && mp.perms[1] == 'w' && mp.perms[3] == 's' && mp.inode != 0 && r.inRoot(a, mp.path) {
				files = append(files, strings.TrimPrefix(mp.path, "/"))
			}
		}
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

// inRoot tells whether a path of a mapping names a regular file of the container's root, and not one of another file system on it.
func (r *Runtime) inRoot(a migrate.Attempt, path string) bool {
	for _, other := range []string{"/dev", "/proc", "/sys"} {
		if path == other || strings.HasPrefix(path, other+"/") {
			return false
		}
	}
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return false
	}
	root, err := os.OpenRoot(r.Root(a))
	if err != nil {
		return false
	}
	defer root.Close()
	fi, err := root.Lstat(path[1:])
	return err == nil && fi.Mode().IsRegular()
}

// Arm implements [migrate.SourceEngine].
func (r *Runtime) Arm(ctx context.Context, a migrate.Attempt) error {
	s := r.moves.source(a)
	if s.worker == nil {
		w, err := r.worker(ctx, a.ID, roleSource, nil)
		if err != nil {
			return fmt.Errorf("arm %s: %w", a.Container.CTID, err)
		}
		s.worker = w
	}
	if n, ok := r.attachment(a.Container); ok && s.holder == nil {
		h, err := network.NewHolder(n)
		if err != nil {
			s.abandon()
			return fmt.Errorf("arm %s: %w", a.Container.CTID, err)
		}
		s.holder = h
	}
	return nil
}

const (
	roleSource = "src"
	roleTarget = "dst"
)

func (r *Runtime) freezerOf(a migrate.Attempt) (freezer, error) {
	m, _, err := r.newCgroups(a.Container)
	if err != nil {
		return freezer{}, err
	}
	return newFreezer(m)
}

// Freeze implements [migrate.SourceEngine].
func (r *Runtime) Freeze(ctx context.Context, a migrate.Attempt) error {
	if err := r.freeze(ctx, a); err != nil {
		err = fmt.Errorf("freeze %s: %w", a.Container.CTID, err)
		return errors.Join(err, r.Thaw(context.WithoutCancel(ctx), a))
	}
	return nil
}

func (r *Runtime) freeze(ctx context.Context, a migrate.Attempt) error {
	if _, st, _, err := r.running(a.Container.CTID); err != nil || st == libcontainer.Stopped {
		return errors.Join(err, ErrNotRunning)
	}
	fr, err := r.freezerOf(a)
	if err != nil {
		return err
	}
	if err := r.Arm(ctx, a); err != nil {
		return err
	}
	n, networked := r.attachment(a.Container)
	s := r.moves.source(a)
	// First nothing comes in any more, so that the kernel acknowledges nothing that no process will see. Then the tasks stop. Then nothing
	// goes out: what they had sent has left, for the frames of a device pair are handed over as they are sent.
	if networked {
		if err := s.holder.Redirect(); err != nil {
			return err
		}
	}
	if err := fr.freeze(ctx); err != nil {
		return err
	}
	if !networked {
		return nil
	}
	if err := network.ClosePort(n); err != nil {
		return err
	}
	return s.holder.Loosen()
}

// Dump implements [migrate.SourceEngine].
func (r *Runtime) Dump(ctx context.Context, a migrate.Attempt, dir string) error {
	if err := r.dump(ctx, a, dir); err != nil {
		return fmt.Errorf("dump %s: %w", a.Container.CTID, err)
	}
	return nil
}

func (r *Runtime) dump(ctx context.Context, a migrate.Attempt, dir string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, criuLimit)
	defer cancel()
	fr, err := r.freezerOf(a)
	if err != nil {
		return err
	}
	_, st, pid, err := r.running(a.Container.CTID)
	if err != nil || st == libcontainer.Stopped {
		return errors.Join(err, ErrNotRunning)
	}
	if ok, err := fr.frozen(); err != nil || !ok {
		return errors.Join(err, errors.New("it is not frozen"))
	}
	if err := emptyDir(dir); err != nil {
		return err
	}
	if err := r.Arm(ctx, a); err != nil {
		return err
	}
	s := r.moves.source(a)
	w := s.worker
	s.worker = nil // a worker serves one request
	files, err := openImageFiles(dir, r.workDir(a.ID, roleSource))
	if err != nil {
		w.Kill()
		return err
	}
	defer files.close()

	opts := commonOpts(files)
	opts.Pid = proto.Int32(int32(pid))
	opts.Root = proto.String(r.mountPoint(a.Container.CTID))
	opts.LeaveRunning = proto.Bool(true)
	// CRIU thaws the cgroup to seize the tasks, and freezes it again when it is done: so they are never free in between.
	opts.FreezeCgroup = proto.String(fr.dir)
	for _, e := range r.externalMounts(a.Container.CTID) {
		opts.ExtMnt = append(opts.ExtMnt, &rpc.ExtMountMap{Key: proto.String(e.Destination), Val: proto.String(e.Key)})
	}
	// Both only read, from tasks that stand still.
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.Dump(gctx, opts, nil) })
	g.Go(func() error { return packDevices(filepath.Join(dir, devicesImage), r.deviceDir(a.Container.CTID)) })
	err = g.Wait()

	frozen, ferr := fr.frozen()
	switch {
	case err == nil && ferr == nil && frozen:
		return nil
	case err == nil:
		err = errors.Join(ferr, errors.New("tasks ran while they were dumped"))
	}
	// A CRIU that failed or was killed may have left the tasks running: they must not, before the verdict is known.
	return errors.Join(err, fr.freeze(context.WithoutCancel(ctx)), r.endRepair(a))
}

// endRepair heals the sockets that a killed dump left unable to send.
func (r *Runtime) endRepair(a migrate.Attempt) error {
	m, _, err := r.newCgroups(a.Container)
	if err != nil {
		return err
	}
	all, err := pids(m)
	if err != nil {
		return err
	}
	n, err := criu.EndTCPRepair(all)
	if n > 0 {
		r.log.Info("took sockets out of repair mode", "ctid", a.Container.CTID, "migration", a.ID, "sockets", n)
	}
	return err
}

// emptyDir makes a directory empty: an earlier, broken attempt to dump may have left images.
func emptyDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	es, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range es {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Thaw implements [migrate.SourceEngine].
func (r *Runtime) Thaw(ctx context.Context, a migrate.Attempt) error {
	ctid := a.Container.CTID
	defer r.locks.lock(ctid)()
	fr, err := r.freezerOf(a)
	if err != nil {
		return fmt.Errorf("thaw %s: %w", ctid, err)
	}
	s := r.moves.source(a)
	if s.worker != nil {
		s.worker.Kill()
		s.worker = nil
	}
	// Whatever still has a hold on the tasks goes first; then the way for frames is open before anybody can send.
	errs := []error{r.endWork(ctx, a.ID, roleSource)}
	if _, st, _, err := r.running(ctid); err == nil && st == libcontainer.Stopped {
		// It was killed meanwhile, or died of a killed dump: an ordinary end of a container, which the agent sees by itself.
		r.log.Warn("nothing is left to thaw", "ctid", ctid, "migration", a.ID)
		r.moves.endSource(a)
		return errors.Join(errs...)
	}
	errs = append(errs, r.endRepair(a))
	n, networked := r.attachment(a.Container)
	if networked {
		errs = append(errs, network.OpenPort(n))
	}
	errs = append(errs, fr.thaw())
	if s.holder != nil {
		held, dropped, err := s.holder.PutBack()
		errs = append(errs, err)
		r.log.Debug("frames put back", "ctid", ctid, "migration", a.ID, "held", held, "dropped", dropped)
	}
	r.moves.endSource(a)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("thaw %s: %w", ctid, err)
	}
	return nil
}

// Forward implements [migrate.SourceEngine].
func (r *Runtime) Forward(_ context.Context, a migrate.Attempt) error {
	n, networked := r.attachment(a.Container)
	if !networked {
		return nil
	}
	err := network.Forget(n)
	if s := r.moves.source(a); s.holder != nil {
		held, dropped, perr := s.holder.PutBack()
		err = errors.Join(err, perr)
		r.log.Debug("frames forwarded", "ctid", a.Container.CTID, "migration", a.ID, "held", held, "dropped", dropped)
	}
	r.moves.endSource(a)
	if err != nil {
		return fmt.Errorf("forward frames of %s: %w", a.Container.CTID, err)
	}
	return nil
}

// Destroy implements [migrate.SourceEngine].
func (r *Runtime) Destroy(ctx context.Context, a migrate.Attempt) error {
	ctid := a.Container.CTID
	r.moves.endSource(a)
	rec, ok, err := r.held(ctid)
	if err != nil {
		return fmt.Errorf("destroy %s: %w", ctid, err)
	}
	err = r.endWork(ctx, a.ID, roleSource)
	// A copy of a later epoch came back here since: it is not the one that this attempt moved away.
	if ok && rec.Epoch <= a.Epoch {
		err = errors.Join(err, r.Remove(ctx, ctid, rec.Epoch))
	}
	err = errors.Join(err, os.RemoveAll(r.imageDir(a.ID)))
	if err != nil {
		return fmt.Errorf("destroy %s: %w", ctid, err)
	}
	return nil
}
