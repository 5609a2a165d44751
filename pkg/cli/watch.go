package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// Stream is what a watch gives.
type Stream[T any] interface {
	Recv() (T, error)
}

// Open starts a watch on one master.
type Open[T any] func(ctx context.Context, stub vzpb.ClusterClient) (Stream[T], error)

// ErrWatchLost says that no master could be asked for longer than the window: how the watched work ended is not known.
var ErrWatchLost = errors.New("lost sight of it")

// Watch calls each with every record until each says done or fails. A stream that breaks is opened again on the next master; only when
// no stream gave a record for longer than window is the error ErrWatchLost (a stream that stands and is silent is fine). What a master refuses (NOT_FOUND, ...) is returned as it is.
func Watch[T any](ctx context.Context, c *Client, window time.Duration, open Open[T], each func(T) (done bool, err error)) error {
	pause := firstPause
	for heard := time.Now(); ; {
		live := false
		final, err := watchOnce(ctx, c, open, func(r T) (bool, error) {
			live = true
			return each(r)
		})
		if final {
			return err
		}
		if live {
			heard, pause = time.Now(), firstPause // it stood until now
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(heard) > window {
			return fmt.Errorf("%w: %v", ErrWatchLost, err)
		}
		c.current = (c.current + 1) % len(c.addrs)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
			pause = min(2*pause, longestPause)
		}
	}
}

// watchOnce reads one stream. final: err is the answer; otherwise it is why the stream broke.
func watchOnce[T any](ctx context.Context, c *Client, open Open[T], each func(T) (bool, error)) (final bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	addr := c.addrs[c.current]
	conn, err := c.ready(ctx, addr, connectTime)
	if err != nil {
		return false, fmt.Errorf("%s: %w", addr, err)
	}
	st, err := open(ctx, vzpb.NewClusterClient(conn))
	if err != nil {
		return false, fmt.Errorf("%s: %w", addr, err)
	}
	for {
		r, err := st.Recv()
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return false, fmt.Errorf("%s: ended the watch", addr)
		case broken(err):
			return false, fmt.Errorf("%s: %s", addr, status.Convert(err).Message())
		default:
			return true, FromStatus(err)
		}
		if done, err := each(r); done || err != nil {
			return true, err
		}
	}
}

// broken tells an ended stream from a refusal.
func broken(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded, codes.Unknown, codes.Aborted,
		codes.ResourceExhausted: // too slow: the next stream begins with the present record, so nothing is missed
		return true
	}
	return false
}
