package raftlog

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"
)

// snapshotTimeout is how long a snapshot that was asked for may take.
const snapshotTimeout = 2 * time.Minute

// Compact writes a snapshot now, of this member alone, whatever the thresholds say, and drops the log that it covers but for the
// entries kept for followers that lag. Nothing new since the last one is no error.
func (l *Log) Compact(ctx context.Context) error {
	if err := l.up(ctx); err != nil {
		return err
	}
	err := l.calls.await(ctx, snapshotTimeout, func() error { return l.raft.Snapshot().Error() })
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	return err
}
