package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/node/unpack"
)

// createAttempt stands for a migration's id in the name of the staging directory of Create.
const createAttempt = "create"

// Create implements [node.Runtime]. The record that it leaves has run generation 0: no order to start or stop has been carried out.
func (r *Runtime) Create(ctx context.Context, c cluster.Container, templateTar string) error {
	defer r.locks.lock(c.CTID)()
	if err := checkIDs(c); err != nil {
		return err
	}
	rec, ok, err := r.held(c.CTID)
	if err != nil {
		return fmt.Errorf("create %s: %w", c.CTID, err)
	}
	if ok {
		if rec.Epoch != c.Epoch {
			return fmt.Errorf("create %s: this host holds a copy of epoch %d, not %d", c.CTID, rec.Epoch, c.Epoch)
		}
		return nil
	}
	stage := r.stageDir(c.CTID, createAttempt)
	if err := os.RemoveAll(stage); err != nil {
		return fmt.Errorf("create %s: %w", c.CTID, err)
	}
	if err := r.create(ctx, c, templateTar, stage); err != nil {
		return errors.Join(fmt.Errorf("create %s: %w", c.CTID, err), os.RemoveAll(stage))
	}
	return nil
}

func checkIDs(c cluster.Container) error {
	if c.CTID == "" {
		return errors.New("a container without a CTID")
	}
	for _, d := range c.CTID {
		if d < '0' || d > '9' {
			return fmt.Errorf("CTID %q is not a number", c.CTID)
		}
	}
	if c.Spec.Privileged != (c.IDBase == 0) {
		return fmt.Errorf("container %s: privileged is %t, but its range of ids begins at %d", c.CTID, c.Spec.Privileged, c.IDBase)
	}
	return nil
}

func (r *Runtime) create(ctx context.Context, c cluster.Container, templateTar, stage string) error {
	if err := os.MkdirAll(stageRoot(stage), 0o755); err != nil {
		return err
	}
	if err := os.Lchown(stageRoot(stage), int(c.IDBase), int(c.IDBase)); err != nil {
		return err
	}
	rec := recordOf(c)
	rec.RunGen = 0
	if err := writeRecord(stageRecord(stage), rec); err != nil {
		return err
	}
	opt := unpack.Options{IDBase: c.IDBase, IDRange: cluster.IDRange, MaxBytes: c.Spec.Resources.DiskBytes}
	if err := unpack.File(ctx, templateTar, stageRoot(stage), opt); err != nil {
		return fmt.Errorf("unpack template: %w", err)
	}
	if err := r.writeNames(stageRoot(stage), c); err != nil {
		return err
	}
	return r.goLive(stage, rec)
}

// goLive makes a complete staging directory the live copy: its files are synced, then the record is written, then the root is renamed into
// place, which is the moment from which on the copy counts. Repeating it after a crash completes it.
func (r *Runtime) goLive(stage string, rec Record) error {
	root := stageRoot(stage)
	if _, err := os.Lstat(root); errors.Is(err, fs.ErrNotExist) {
		if _, ok, err := r.held(rec.CTID); err != nil || !ok {
			return errors.Join(fmt.Errorf("%s has neither a staged nor a live root", rec.CTID), err)
		}
		if err := writeRecord(r.confPath(rec.CTID), rec); err != nil {
			return err
		}
		return os.RemoveAll(stage)
	}
	if err := syncFS(root); err != nil {
		return err
	}
	if err := writeRecord(r.confPath(rec.CTID), rec); err != nil {
		return err
	}
	if err := renameDurably(root, r.rootDir(rec.CTID)); err != nil {
		return fmt.Errorf("put the root in place: %w", err)
	}
	return os.RemoveAll(stage)
}

// syncFS makes everything durable on the file system that holds path.
func syncFS(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}
