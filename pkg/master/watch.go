package master

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

const (
	// slowReader is how long a watch waits for its reader to take one record.
	slowReader = 30 * time.Second
	// maxWatches is how many watches one master serves.
	maxWatches = 2000
)

// watchMethods are the streams that a slow reader is cut off from.
var watchMethods = map[string]bool{
	vzpb.Cluster_WatchContainer_FullMethodName: true,
	vzpb.Cluster_WatchMigration_FullMethodName: true,
}

// within sends one record, and gives the reader up if it does not take it in time. A stream that was given up must be ended: only that
// ends the sending.
func within(ctx context.Context, send func() error) error {
	done := make(chan error, 1)
	go func() { done <- send() }()
	timer := time.NewTimer(slowReader)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return status.Errorf(codes.ResourceExhausted, "the watch was cut off: nothing was read for %v; watch again, it begins with the present record", slowReader)
	case <-ctx.Done():
		return toStatus(ctx.Err())
	}
}

// watch calls look on a fresh state, and again after each change (and each period, if not 0) until it is done, ctx ends, or the
// leadership does. There is no queue: a slow reader gets the newest state, not the ones between.
func (s *service) watch(ctx context.Context, period time.Duration, look func(st *store.State, seen sight, sent *string) (bool, error)) error {
	defer s.m.watches.Add(-1)
	if s.m.watches.Add(1) > maxWatches {
		return status.Errorf(codes.ResourceExhausted, "this master serves %d watches already; try another master, or again later", maxWatches)
	}
	t := s.m.term.Load()
	if t == nil {
		return noLeader("it was lost just now")
	}
	st, _, err := s.fresh(ctx)
	if err != nil {
		return err
	}
	sent := ""
	for {
		seen, changed := t.live.sight()
		if newer := s.m.store.View(); newer.Rev() > st.Rev() {
			st = newer
		}
		if done, err := look(st, seen, &sent); done || err != nil {
			return err
		}
		var tick <-chan time.Time
		if period > 0 {
			tick = time.After(period)
		}
		select {
		case <-changed:
		case <-tick:
		case <-ctx.Done():
			return toStatus(ctx.Err())
		case <-t.ctx.Done():
			return noLeader("the leadership moved; watch again")
		}
	}
}
