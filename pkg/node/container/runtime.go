package container

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/seccomp"
)

// ErrNotRunning says that an operation needs a running container.
var ErrNotRunning = errors.New("the container is not running")

// Runtime is the container runtime of one host.
type Runtime struct {
	cfg Config
	log *slog.Logger

	locks keyedLocks
	watch *watcher
	moves moves // what is open of migrations

	mu       sync.Mutex
	sessions map[string]int // running Exec calls by CTID
	starts   map[string]startMark

	disk     diskMeter
	keeperMu sync.Mutex // one keeper is started at a time
}

// New makes the directories that the runtime needs and returns it. It starts nothing: see [Runtime.Run].
func New(cfg Config) (*Runtime, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("the container runtime needs root")
	}
	if !seccomp.Enabled {
		return nil, errors.New("this binary has no seccomp support: build it with -tags 'runc_nocriu seccomp'")
	}
	r := &Runtime{cfg: cfg, log: cfg.Log, sessions: map[string]int{}, starts: map[string]startMark{}, watch: newWatcher()}
	// The parent is closed to others: files in it carry the set-uid bits and ids of containers.
	for _, d := range []struct {
		path string
		mode os.FileMode
	}{
		{cfg.DataDir, 0o755}, {r.privateDir(), 0o711}, {r.stagingBase(), 0o700}, {r.retiredBase(), 0o700}, {r.confDir(), 0o700},
		{r.mountPoint(""), 0o711}, {cfg.LogDir(), 0o750},
		{cfg.RunDir, 0o711}, {r.stateRoot(), 0o711}, {r.deviceBase(), 0o711}, {r.imageBase(), 0o711},
	} {
		if err := os.MkdirAll(d.path, d.mode); err != nil {
			return nil, fmt.Errorf("make the runtime's directories: %w", err)
		}
	}
	return r, nil
}

// load returns libcontainer's view of a container, nil if it knows none.
func (r *Runtime) load(ctid string) (*libcontainer.Container, error) {
	c, err := libcontainer.Load(r.stateRoot(), ctid)
	if errors.Is(err, libcontainer.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load the state of %s: %w", ctid, err)
	}
	return c, nil
}

// keyedLocks holds one mutex per container, so that the clean-up after an exit never meets an order of the agent.
type keyedLocks struct {
	mu sync.Mutex
	m  map[string]*sync.Mutex
}

// lock locks one container and returns the unlock.
func (k *keyedLocks) lock(ctid string) func() {
	k.mu.Lock()
	if k.m == nil {
		k.m = map[string]*sync.Mutex{}
	}
	l := k.m[ctid]
	if l == nil {
		l = new(sync.Mutex)
		k.m[ctid] = l
	}
	k.mu.Unlock()
	l.Lock()
	return l.Unlock
}
