package nodetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate"
	"github.com/vzcluster/vzcluster/pkg/node"
)

const pages = "pages-1.img"

// imagePad makes image files worth a few frames.
const imagePad = 600 << 10

// Preflight implements [migrate.SourceEngine].
func (r *Runtime) Preflight(ctx context.Context, a migrate.Attempt) error {
	return r.with(ctx, "Preflight", a.Container.CTID, func(c *node.Copy) error {
		if c.State != cluster.CopyRunning && c.State != cluster.CopyFrozen {
			return errors.New("it does not run")
		}
		return nil
	})
}

// Root implements [migrate.SourceEngine].
func (r *Runtime) Root(a migrate.Attempt) string { return r.root(a.Container.CTID) }

// ConsoleLog implements [migrate.SourceEngine].
func (r *Runtime) ConsoleLog(a migrate.Attempt) string {
	return filepath.Join(r.Dir, a.Container.CTID+".console")
}

// MappedFiles implements [migrate.SourceEngine].
func (r *Runtime) MappedFiles(context.Context, migrate.Attempt) ([]string, error) { return nil, nil }

// Arm implements [migrate.SourceEngine].
func (r *Runtime) Arm(ctx context.Context, a migrate.Attempt) error {
	return r.with(ctx, "Arm", a.Container.CTID, func(*node.Copy) error { return nil })
}

// Freeze implements [migrate.SourceEngine].
func (r *Runtime) Freeze(ctx context.Context, a migrate.Attempt) error {
	return r.with(ctx, "Freeze", a.Container.CTID, func(c *node.Copy) error {
		if c.State != cluster.CopyRunning && c.State != cluster.CopyFrozen {
			return errors.New("it does not run")
		}
		c.State = cluster.CopyFrozen
		return nil
	})
}

// Dump implements [migrate.SourceEngine].
func (r *Runtime) Dump(ctx context.Context, a migrate.Attempt, dir string) error {
	return r.with(ctx, "Dump", a.Container.CTID, func(c *node.Copy) error {
		if c.State != cluster.CopyFrozen {
			return errors.New("it is not frozen")
		}
		content := append([]byte(r.Memory[c.CTID]+"\n"), bytes.Repeat([]byte("p"), imagePad)...)
		if err := os.WriteFile(filepath.Join(dir, pages), content, 0o600); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "core-1.img"), []byte("core"), 0o600)
	})
}

// Thaw implements [migrate.SourceEngine].
func (r *Runtime) Thaw(ctx context.Context, a migrate.Attempt) error {
	return r.with(ctx, "Thaw", a.Container.CTID, func(c *node.Copy) error {
		if c.State == cluster.CopyFrozen {
			c.State = cluster.CopyRunning
		}
		return nil
	})
}

// Forward implements [migrate.SourceEngine].
func (r *Runtime) Forward(ctx context.Context, a migrate.Attempt) error {
	unlock, err := r.call(ctx, "Forward", a.Container.CTID)
	if err == nil {
		unlock()
	}
	return err
}

// Destroy implements [migrate.SourceEngine].
func (r *Runtime) Destroy(ctx context.Context, a migrate.Attempt) error {
	unlock, err := r.call(ctx, "Destroy", a.Container.CTID)
	if err != nil {
		return err
	}
	defer unlock()
	if c, ok := r.copies[a.Container.CTID]; ok && c.Epoch == a.Epoch {
		delete(r.copies, a.Container.CTID)
		return os.RemoveAll(r.root(a.Container.CTID))
	}
	return nil
}

// Reserve implements [migrate.TargetEngine].
func (r *Runtime) Reserve(ctx context.Context, a migrate.Attempt) (string, error) {
	unlock, err := r.call(ctx, "Reserve", a.Container.CTID)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, ok := r.copies[a.Container.CTID]; ok {
		return "", fmt.Errorf("%s already holds a copy", r.Name)
	}
	return r.stage(a), os.MkdirAll(r.stage(a), 0o755)
}

// Staged implements [migrate.TargetEngine].
func (r *Runtime) Staged(a migrate.Attempt) (string, bool) {
	_, err := os.Stat(r.stage(a))
	return r.stage(a), err == nil
}

// ImportConsoleLog implements [migrate.TargetEngine].
func (r *Runtime) ImportConsoleLog(_ context.Context, a migrate.Attempt, file string) error {
	return os.Rename(file, filepath.Join(r.Dir, a.Container.CTID+".console"))
}

// Prepare implements [migrate.TargetEngine].
func (r *Runtime) Prepare(ctx context.Context, a migrate.Attempt) error {
	unlock, err := r.call(ctx, "Prepare", a.Container.CTID)
	if err == nil {
		unlock()
	}
	return err
}

// Restore implements [migrate.TargetEngine].
func (r *Runtime) Restore(ctx context.Context, a migrate.Attempt, dir string) error {
	unlock, err := r.call(ctx, "Restore", a.Container.CTID)
	if err != nil {
		return err
	}
	defer unlock()
	raw, err := os.ReadFile(filepath.Join(dir, pages))
	if err != nil {
		return err
	}
	memory, _, _ := bytes.Cut(raw, []byte("\n"))
	r.held[a.ID] = string(memory)
	return nil
}

// Release implements [migrate.TargetEngine].
func (r *Runtime) Release(ctx context.Context, a migrate.Attempt, epoch cluster.Epoch) error {
	unlock, err := r.call(ctx, "Release", a.Container.CTID)
	if err != nil {
		return err
	}
	defer unlock()
	ctid := a.Container.CTID
	if c, ok := r.copies[ctid]; ok && c.State == cluster.CopyRunning {
		return nil
	}
	if _, ok := r.copies[ctid]; !ok {
		if err := os.MkdirAll(filepath.Dir(r.root(ctid)), 0o755); err != nil {
			return err
		}
		if err := os.Rename(r.stage(a), r.root(ctid)); err != nil {
			return err
		}
		r.copies[ctid] = &node.Copy{CTID: ctid, Epoch: epoch, RunGen: a.Container.RunGen, SpecGen: a.Container.SpecGen, State: cluster.CopyStopped}
	}
	memory, ok := r.held[a.ID]
	if !ok {
		return migrate.ErrLost
	}
	delete(r.held, a.ID)
	r.copies[ctid].State, r.copies[ctid].Pid = cluster.CopyRunning, 4712
	r.Memory[ctid] = memory
	return nil
}

// Discard implements [migrate.TargetEngine].
func (r *Runtime) Discard(ctx context.Context, a migrate.Attempt) error {
	unlock, err := r.call(ctx, "Discard", a.Container.CTID)
	if err != nil {
		return err
	}
	defer unlock()
	delete(r.held, a.ID)
	return os.RemoveAll(r.stage(a))
}

// Again carries a call out once more, without hook and with a context that lasts: as if its effect came after its caller's death.
func (r *Runtime) Again(call string, a migrate.Attempt) {
	hook := r.Hook
	r.Hook = nil
	defer func() { r.Hook = hook }()
	ctx := context.Background()
	switch call {
	case "Freeze":
		_ = r.Freeze(ctx, a)
	case "Thaw":
		_ = r.Thaw(ctx, a)
	case "Destroy":
		_ = r.Destroy(ctx, a)
	case "Reserve":
		_, _ = r.Reserve(ctx, a)
	case "Restore":
		r.mu.Lock()
		r.held[a.ID] = r.Memory[a.Container.CTID]
		r.mu.Unlock()
	case "Release":
		_ = r.Release(ctx, a, a.Epoch+1)
	case "Discard":
		_ = r.Discard(ctx, a)
	}
}
