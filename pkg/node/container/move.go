package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/checkpoint-restore/go-criu/v7/rpc"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate"
	"github.com/vzcluster/vzcluster/pkg/node/criu"
	"github.com/vzcluster/vzcluster/pkg/node/network"
)

// Runtime is both sides' engine.
var (
	_ migrate.SourceEngine = (*Runtime)(nil)
	_ migrate.TargetEngine = (*Runtime)(nil)
)

const (
	// criuLimit bounds any one operation of CRIU, so that one that hangs (a truncated image does that) ends without an operator.
	// The migration's own deadline is shorter and comes by the context.
	criuLimit = 10 * time.Minute
	// settleLimit bounds what CRIU does after the verdict: resuming takes milliseconds.
	settleLimit = 20 * time.Second
	// ghostLimit is how large an open but deleted file may be to travel with the images, in bytes.
	ghostLimit = 256 << 20
	// drain is how long the frame holder lives on after its frames were put back: frames may still be on their way into it.
	drain = 200 * time.Millisecond
)

// moves holds what this agent's memory knows of open migrations, at most one per container and role. Nothing in it is needed to go on
// after a restart of the agent: see each step.
type moves struct {
	mu      sync.Mutex
	sources map[string]*sourceMove // by CTID
	targets map[string]*targetMove
}

// source returns the move of this attempt, a new one if the container's last one was another attempt's.
func (m *moves) source(a migrate.Attempt) *sourceMove {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.sources[a.Container.CTID]; s != nil {
		if s.attempt == a.ID {
			return s
		}
		s.abandon()
	}
	if m.sources == nil {
		m.sources = map[string]*sourceMove{}
	}
	s := &sourceMove{attempt: a.ID}
	m.sources[a.Container.CTID] = s
	return s
}

func (m *moves) endSource(a migrate.Attempt) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.sources[a.Container.CTID]; s != nil && s.attempt == a.ID {
		s.abandon()
		delete(m.sources, a.Container.CTID)
	}
}

// target returns the move of this attempt if it is the container's present one.
func (m *moves) target(a migrate.Attempt) (t *targetMove, other bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t = m.targets[a.Container.CTID]
	if t != nil && t.attempt != a.ID {
		return nil, true
	}
	return t, false
}

func (m *moves) setTarget(a migrate.Attempt, t *targetMove) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.targets == nil {
		m.targets = map[string]*targetMove{}
	}
	if t == nil {
		delete(m.targets, a.Container.CTID)
		return
	}
	m.targets[a.Container.CTID] = t
}

// attachment is the container's network device, ok false if it has none.
func (r *Runtime) attachment(c cluster.Container) (n network.Config, ok bool) {
	n = r.netConfig(c)
	return n, n.MAC != ""
}

func (r *Runtime) workBase() string { return filepath.Join(r.cfg.RunDir, "criu") }

// workDir is where CRIU's log and pid file of one attempt's dump or restore are.
func (r *Runtime) workDir(attempt, role string) string {
	return filepath.Join(r.workBase(), attempt+"."+role)
}

// worker makes the work directory and starts CRIU, after what an earlier agent left of it is dead.
func (r *Runtime) worker(ctx context.Context, attempt, role string, cgroups []string) (*criu.Worker, error) {
	dir := r.workDir(attempt, role)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := criu.KillStale(ctx, dir); err != nil {
		return nil, err
	}
	if err := criu.HoldPerf(); err != nil {
		r.log.Debug("migrations are slower than they could be", "err", err)
	}
	return criu.Start(criu.Config{Path: r.cfg.CRIU, Dir: dir, Cgroups: cgroups, NewCgroupNS: cgroups != nil})
}

// endWork kills a worker that an earlier agent left and removes the attempt's work directory.
func (r *Runtime) endWork(ctx context.Context, attempt, role string) error {
	dir := r.workDir(attempt, role)
	if err := criu.KillStale(ctx, dir); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// sweepWork does endWork for every attempt that is not in keep.
func (r *Runtime) sweepWork(ctx context.Context, keep map[string]bool) error {
	es, err := os.ReadDir(r.workBase())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep criu's directories: %w", err)
	}
	var errs []error
	for _, e := range es {
		ext := filepath.Ext(e.Name())
		attempt := e.Name()[:len(e.Name())-len(ext)]
		if ext == "" || keep[attempt] {
			continue
		}
		errs = append(errs, r.endWork(ctx, attempt, ext[1:]))
	}
	return errors.Join(errs...)
}

// imageFiles are the two directories that CRIU is told of. It opens them by way of this process.
type imageFiles struct{ images, work *os.File }

func openImageFiles(images, work string) (*imageFiles, error) {
	i, err := os.Open(images)
	if err != nil {
		return nil, err
	}
	w, err := os.Open(work)
	if err != nil {
		i.Close()
		return nil, err
	}
	return &imageFiles{i, w}, nil
}

func (f *imageFiles) close() {
	f.images.Close()
	f.work.Close()
}

// commonOpts are what dump and restore have to agree on.
//
// The network namespace is made anew and empty (EmptyNs): what a foreign one costs CRIU is most of the whole, and only a namespace that
// belongs to the restored user namespace lets it restore TCP; we fill it ourselves. The network is fenced by us, so CRIU locks nothing.
// Tasks are born in the cgroups that CRIU was put into, so it manages none.
func commonOpts(f *imageFiles) *rpc.CriuOpts {
	return &rpc.CriuOpts{
		ImagesDirFd:       proto.Int32(int32(f.images.Fd())),
		WorkDirFd:         proto.Int32(int32(f.work.Fd())),
		TcpEstablished:    proto.Bool(true),
		FileLocks:         proto.Bool(true),
		ExtUnixSk:         proto.Bool(true),
		LinkRemap:         proto.Bool(true),
		GhostLimit:        proto.Uint32(ghostLimit),
		ManageCgroups:     proto.Bool(true),
		ManageCgroupsMode: rpc.CriuCgMode_IGNORE.Enum(),
		NetworkLock:       rpc.CriuNetworkLockMethod_SKIP.Enum(),
		CpuCap:            proto.Uint32(0), // the coordinator has compared the hosts
		EmptyNs:           proto.Uint32(unix.CLONE_NEWNET),
	}
}
