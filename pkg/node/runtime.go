package node

import (
	"context"
	"io"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate"
)

// Copy is one copy of a container on this host, as found on the disk and in the kernel.
type Copy struct {
	CTID    string
	Epoch   cluster.Epoch
	RunGen  uint64 // the last start or stop order carried out; durable
	SpecGen uint64 // the last spec applied; durable
	State   cluster.CopyState
	Pid     int // of init, on the host; 0 if it does not run
}

// Runtime is what the agent needs of the container runtime. Implemented by pkg/node/container; a fake implements it in tests.
// Calls for one container never overlap (the agent sees to it), calls for different containers do. All are idempotent.
type Runtime interface {
	migrate.SourceEngine
	migrate.TargetEngine

	// Copies looks at the disk and the kernel and lists every copy on this host, dead ones and half-made ones included.
	Copies(ctx context.Context) ([]Copy, error)
	// Create makes the container's root from the template's tar and remembers the record (epoch and generations) durably.
	Create(ctx context.Context, c cluster.Container, templateTar string) error
	// Start starts init and records c.RunGen durably before it does: an order is carried out once.
	Start(ctx context.Context, c cluster.Container) error
	// Stop asks init to end, kills it after c.StopTimeout (at once with c.Force), and records c.RunGen.
	Stop(ctx context.Context, c cluster.Container) error
	// Apply brings limits of a container to c.Spec and records epoch and SpecGen. It works on running and stopped containers.
	Apply(ctx context.Context, c cluster.Container) error
	// Remove kills and removes the copy of ctid that is held for exactly this epoch (R6); another epoch's copy is left alone.
	Remove(ctx context.Context, ctid string, epoch cluster.Epoch) error
	// Usage measures a container.
	Usage(ctx context.Context, ctid string) (cluster.Usage, error)
	// Exec runs a process in a running container and returns its exit code, 128 + signal if one killed it.
	Exec(ctx context.Context, ctid string, e ExecSpec) (int, error)
	// ConsoleTail returns the last max bytes of init's console output.
	ConsoleTail(ctid string, max int64) ([]byte, error)
	// Info probes the host: capacity and features.
	Info(ctx context.Context) (cluster.NodeInfo, error)
	// Sweep removes, at the agent's start, what dead attempts left: staging directories whose attempt is not in keep, images, devices.
	Sweep(ctx context.Context, keep map[string]bool) error
}

// ExecSpec is a process to run in a container.
type ExecSpec struct {
	Argv   []string
	Env    []string
	Cwd    string
	TTY    bool
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer        // unused with a TTY
	Resize <-chan [2]uint16 // rows, columns
	Signal <-chan int
}
