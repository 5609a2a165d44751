package migrate

import (
	"context"
	"errors"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// ErrLost: Release found no tasks to release: they died with the agent or the host that held them. The files are live, nothing runs,
// and what is left to do is an ordinary cold start at the owner (R9, R11).
var ErrLost = errors.New("the restored tasks are gone")

// Attempt names one attempt to move one container; everything made for it carries this name, so that nothing late or repeated of
// another attempt can touch it (R4, R6, R7).
type Attempt struct {
	ID        string            // the migration's id
	Epoch     cluster.Epoch     // of the container when the attempt was planned
	Container cluster.Container // the record, with Node still the source
}

// SourceEngine is what the source's side of a migration needs of the container runtime. All calls are idempotent and work after a
// restart of the agent: what they need to know is in the kernel (freezer state, bridge port state) and in the journal.
//
// The contract: frozen and fenced on success, running on failure.
type SourceEngine interface {
	// Preflight tells why the container cannot be dumped now, in words for the operator; nil if it can. The container runs on.
	Preflight(ctx context.Context, a Attempt) error
	// Root is the directory that is the container's root on the host's file system.
	Root(a Attempt) string
	// ConsoleLog is the file with what init wrote to its console.
	ConsoleLog(a Attempt) string
	// MappedFiles lists files, relative to Root, that some process has mapped shared and writable: a store to such a mapping may leave
	// no trace in the file's times, so the last round must compare their content.
	MappedFiles(ctx context.Context, a Attempt) ([]string, error)
	// Arm starts whatever can be started before the freeze (CRIU waiting for its request, the frame holder). The container runs.
	Arm(ctx context.Context, a Attempt) error
	// Freeze cuts the network off (frames for the container are held, not dropped) and freezes all its tasks.
	// On failure the container runs and its network is back.
	Freeze(ctx context.Context, a Attempt) error
	// Dump writes CRIU's images into dir. The container is frozen before and after, whether it succeeds or not.
	Dump(ctx context.Context, a Attempt, dir string) error
	// Thaw carries out the verdict abort: tasks run, the network is back, held frames are delivered.
	Thaw(ctx context.Context, a Attempt) error
	// Forward puts the held frames back on the wire, to the target: after the target has announced the address.
	Forward(ctx context.Context, a Attempt) error
	// Destroy kills the frozen tasks without letting one of them run, and removes the copy. Only after the migration is Done.
	Destroy(ctx context.Context, a Attempt) error
}

// TargetEngine is what the target's side needs.
type TargetEngine interface {
	// Reserve makes the staging directory of this attempt and refuses if this node owns the container (R8) or has no room.
	// It returns the directory that the root's entries are written into.
	Reserve(ctx context.Context, a Attempt) (root string, err error)
	// Staged returns what Reserve made, without making it: for a restarted agent.
	Staged(a Attempt) (root string, ok bool)
	// ImportConsoleLog takes the file over as the container's console log.
	ImportConsoleLog(ctx context.Context, a Attempt, file string) error
	// Prepare makes cgroups, network devices (bridge port closed) and mounts, and starts CRIU, which waits for its request.
	Prepare(ctx context.Context, a Attempt) error
	// Restore restores from the images in dir and returns when every task exists and is held before its first instruction.
	// On failure, or when the agent dies, the restored tasks are killed.
	Restore(ctx context.Context, a Attempt, dir string) error
	// Release carries out the verdict commit: staging becomes the container's live directory, the bridge port opens, the tasks run,
	// the address is announced. Returns when the container runs and is managed by this agent under the new epoch.
	// Called again after a crash of the agent or the host it never restores (R9): tasks that run are adopted; if there are none, the staging
	// directory is made live all the same, the copy is recorded as stopped, and the error is ErrLost.
	Release(ctx context.Context, a Attempt, epoch cluster.Epoch) error
	// Discard kills held tasks and removes everything that this attempt made here.
	Discard(ctx context.Context, a Attempt) error
}
