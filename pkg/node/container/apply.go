package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/runc/libcontainer"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// Apply implements [node.Runtime]. Of a running container it changes the limits; the rest of the spec comes into force at the next start.
func (r *Runtime) Apply(_ context.Context, c cluster.Container) error {
	defer r.locks.lock(c.CTID)()
	if err := r.apply(c); err != nil {
		return fmt.Errorf("apply the spec of %s: %w", c.CTID, err)
	}
	return nil
}

func (r *Runtime) apply(c cluster.Container) error {
	rec, err := r.heldFor(c)
	if err != nil {
		return err
	}
	lc, st, _, err := r.running(c.CTID)
	if err != nil {
		return err
	}
	if st != libcontainer.Stopped {
		cfg := lc.Config()
		cg := *cfg.Cgroups
		cg.Resources = resources(c.Spec)
		cfg.Cgroups = &cg
		if err := lc.Set(cfg); err != nil {
			return err
		}
	}
	rec.Epoch, rec.SpecGen, rec.Spec = c.Epoch, c.SpecGen, c
	return writeRecord(r.confPath(c.CTID), rec)
}

// Remove implements [node.Runtime].
func (r *Runtime) Remove(_ context.Context, ctid string, epoch cluster.Epoch) error {
	defer r.locks.lock(ctid)()
	if err := r.remove(ctid, epoch); err != nil {
		return fmt.Errorf("remove %s: %w", ctid, err)
	}
	return nil
}

func (r *Runtime) remove(ctid string, epoch cluster.Epoch) error {
	rec, ok, err := r.held(ctid)
	if err != nil {
		return err
	}
	if ok && rec.Epoch != epoch {
		return nil
	}
	if !ok {
		// What a Create of this epoch or an interrupted Remove left.
		stage := r.stageDir(ctid, createAttempt)
		if half, err := readRecord(stageRecord(stage)); err == nil && half.Epoch == epoch {
			if err := os.RemoveAll(stage); err != nil {
				return err
			}
		}
		rec, err := readRecord(r.confPath(ctid))
		if err == nil && rec.Epoch == epoch {
			err = r.forget(ctid)
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return errors.Join(err, os.RemoveAll(r.retiredDir(ctid, epoch)))
	}
	if err := r.clean(ctid); err != nil {
		return err
	}
	retired, err := r.retire(ctid, epoch)
	if err != nil {
		return err
	}
	if err := r.forget(ctid); err != nil {
		return err
	}
	r.log.Info("container removed", "ctid", ctid, "epoch", epoch)
	return os.RemoveAll(retired)
}

func (r *Runtime) retiredDir(ctid string, epoch cluster.Epoch) string {
	return filepath.Join(r.retiredBase(), fmt.Sprintf("%s.%d", ctid, epoch))
}

// retire takes the root of a copy out of its place, which is the moment from which on the copy no longer counts. Nothing may run in it.
func (r *Runtime) retire(ctid string, epoch cluster.Epoch) (string, error) {
	to := r.retiredDir(ctid, epoch)
	if err := os.RemoveAll(to); err != nil {
		return "", err
	}
	if err := renameDurably(r.rootDir(ctid), to); err != nil {
		return "", fmt.Errorf("retire %s: %w", ctid, err)
	}
	return to, nil
}

// forget removes a copy's record and log, after its root is gone.
func (r *Runtime) forget(ctid string) error {
	if err := os.RemoveAll(filepath.Dir(r.consoleLog(ctid))); err != nil {
		return err
	}
	if err := os.Remove(r.confPath(ctid)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r.disk.forget(ctid)
	return syncDir(r.confDir())
}
