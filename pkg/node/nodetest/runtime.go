// Package nodetest is a container runtime without containers: directories on a disk and states in memory, for tests of everything above
// the runtime. A Runtime stands for a host: it outlives the agent, and AgentDied takes away what dies with one.
package nodetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate"
	"github.com/vzcluster/vzcluster/pkg/node"
)

// Runtime is a fake host. It implements [node.Runtime].
type Runtime struct {
	Name string
	Dir  string
	// Hook is called at the start of each call, named after the method ("Freeze"), and may fail or delay it. May be nil.
	Hook func(ctx context.Context, call, ctid string) error
	// Memory is what a container's processes remember: what a dump carries and a restore must bring back.
	Memory map[string]string

	mu     sync.Mutex
	copies map[string]*node.Copy // by CTID: the live one
	held   map[string]string     // by attempt: memory of tasks that are held
	calls  []string
	execs  func(ctid string, e node.ExecSpec) (int, error)
}

// New makes a host with its files below dir.
func New(name, dir string) *Runtime {
	return &Runtime{Name: name, Dir: dir, Memory: map[string]string{}, copies: map[string]*node.Copy{}, held: map[string]string{}}
}

// Put places a copy, as if it had always been there.
func (r *Runtime) Put(c node.Copy, memory string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.copies[c.CTID] = &c
	r.Memory[c.CTID] = memory
	if err := os.MkdirAll(r.root(c.CTID), 0o755); err != nil {
		panic(err)
	}
}

// AgentDied takes away what dies with the agent: restores that are held.
func (r *Runtime) AgentDied() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.held)
}

// Live returns the live copy of a container.
func (r *Runtime) Live(ctid string) (node.Copy, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.copies[ctid]
	if !ok {
		return node.Copy{}, false
	}
	return *c, true
}

// Calls lists the calls so far.
func (r *Runtime) Calls() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

// OnExec sets what Exec does.
func (r *Runtime) OnExec(f func(ctid string, e node.ExecSpec) (int, error)) { r.execs = f }

func (r *Runtime) root(ctid string) string { return filepath.Join(r.Dir, "private", ctid) }

func (r *Runtime) stage(a migrate.Attempt) string {
	return filepath.Join(r.Dir, "staging", a.Container.CTID+"."+a.ID)
}

// call notes the call, runs the hook, and locks.
func (r *Runtime) call(ctx context.Context, name, ctid string) (unlock func(), err error) {
	if r.Hook != nil {
		if err := r.Hook(ctx, name, ctid); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.calls = append(r.calls, name+" "+ctid)
	return r.mu.Unlock, nil
}

// with runs f on the live copy of the container.
func (r *Runtime) with(ctx context.Context, name, ctid string, f func(c *node.Copy) error) error {
	unlock, err := r.call(ctx, name, ctid)
	if err != nil {
		return err
	}
	defer unlock()
	c, ok := r.copies[ctid]
	if !ok {
		return fmt.Errorf("%s %s: no such container on %s", name, ctid, r.Name)
	}
	return f(c)
}

// Copies implements [node.Runtime].
func (r *Runtime) Copies(ctx context.Context) ([]node.Copy, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []node.Copy
	for _, c := range r.copies {
		out = append(out, *c)
	}
	return out, ctx.Err()
}

// Create implements [node.Runtime].
func (r *Runtime) Create(ctx context.Context, c cluster.Container, templateTar string) error {
	unlock, err := r.call(ctx, "Create", c.CTID)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(templateTar); err != nil {
		return err
	}
	r.copies[c.CTID] = &node.Copy{CTID: c.CTID, Epoch: c.Epoch, RunGen: c.RunGen, SpecGen: c.SpecGen, State: cluster.CopyStopped}
	return os.MkdirAll(r.root(c.CTID), 0o755)
}

// Start implements [node.Runtime].
func (r *Runtime) Start(ctx context.Context, c cluster.Container) error {
	return r.with(ctx, "Start", c.CTID, func(k *node.Copy) error {
		k.RunGen, k.State, k.Pid = c.RunGen, cluster.CopyRunning, 4711
		r.Memory[c.CTID] = "cold"
		return nil
	})
}

// Stop implements [node.Runtime].
func (r *Runtime) Stop(ctx context.Context, c cluster.Container) error {
	return r.with(ctx, "Stop", c.CTID, func(k *node.Copy) error {
		k.RunGen, k.State, k.Pid = c.RunGen, cluster.CopyStopped, 0
		return nil
	})
}

// Apply implements [node.Runtime].
func (r *Runtime) Apply(ctx context.Context, c cluster.Container) error {
	return r.with(ctx, "Apply", c.CTID, func(k *node.Copy) error {
		k.Epoch, k.SpecGen = c.Epoch, c.SpecGen
		return nil
	})
}

// Remove implements [node.Runtime].
func (r *Runtime) Remove(ctx context.Context, ctid string, epoch cluster.Epoch) error {
	unlock, err := r.call(ctx, "Remove", ctid)
	if err != nil {
		return err
	}
	defer unlock()
	if c, ok := r.copies[ctid]; ok && c.Epoch == epoch {
		delete(r.copies, ctid)
		return os.RemoveAll(r.root(ctid))
	}
	return nil
}

// Usage implements [node.Runtime].
func (r *Runtime) Usage(context.Context, string) (cluster.Usage, error) {
	return cluster.Usage{MemoryBytes: 1}, nil
}

// Exec implements [node.Runtime].
func (r *Runtime) Exec(_ context.Context, ctid string, e node.ExecSpec) (int, error) {
	if r.execs == nil {
		return 0, errors.New("no exec here")
	}
	return r.execs(ctid, e)
}

// ConsoleTail implements [node.Runtime].
func (r *Runtime) ConsoleTail(string, int64) ([]byte, error) { return []byte("console"), nil }

// Info implements [node.Runtime].
func (r *Runtime) Info(context.Context) (cluster.NodeInfo, error) {
	return cluster.NodeInfo{Capacity: cluster.Resources{CPUMilli: 2000, MemoryBytes: 1 << 30, DiskBytes: 1 << 30}}, nil
}

// Sweep implements [node.Runtime].
func (r *Runtime) Sweep(ctx context.Context, keep map[string]bool) error {
	unlock, err := r.call(ctx, "Sweep", "")
	if err == nil {
		unlock()
	}
	return err
}
