package cli

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// stream is a watch that gives one record, then breaks after a while.
type stream struct {
	given bool
	after time.Duration
	with  error
}

func (s *stream) Recv() (int, error) {
	if !s.given {
		s.given = true
		return 1, nil
	}
	time.Sleep(s.after)
	return 0, s.with
}

// idle is a client whose connection stands; the streams are the test's own.
func idle(t *testing.T) *Client {
	return client(t, serve(t, &master{}))
}

func gone() error { return status.Error(codes.Unavailable, "gone") }

// TestWatchSilence: a stream that stood longer than the window without a word and then breaks is opened again: silence is not loss.
func TestWatchSilence(t *testing.T) {
	c := idle(t)
	streams := []*stream{{after: 300 * time.Millisecond, with: gone()}, {with: status.Error(codes.NotFound, "no such thing")}}
	n := 0
	open := func(context.Context, vzpb.ClusterClient) (Stream[int], error) { n++; return streams[n-1], nil }
	err := Watch(t.Context(), c, 150*time.Millisecond, open, func(int) (bool, error) { return false, nil })
	if n != 2 || AsError(err).Code != NotFound {
		t.Errorf("%d streams, %v", n, err)
	}
}

func TestWatchLost(t *testing.T) {
	open := func(context.Context, vzpb.ClusterClient) (Stream[int], error) {
		return &stream{given: true, with: gone()}, nil
	}
	err := Watch(t.Context(), idle(t), 200*time.Millisecond, open, func(int) (bool, error) { return false, nil })
	if !errors.Is(err, ErrWatchLost) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Watch(ctx, idle(t), time.Hour, open, func(int) (bool, error) { return false, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestWatchEnds(t *testing.T) {
	boom := errors.New("boom")
	open := func(context.Context, vzpb.ClusterClient) (Stream[int], error) { return &stream{}, nil }
	if err := Watch(t.Context(), idle(t), time.Hour, open, func(int) (bool, error) { return true, nil }); err != nil {
		t.Errorf("done: %v", err)
	}
	if err := Watch(t.Context(), idle(t), time.Hour, open, func(int) (bool, error) { return false, boom }); !errors.Is(err, boom) {
		t.Errorf("failed: %v", err)
	}
}

// TestPauses: each round of masters is followed by a longer pause, up to the longest, and the window is kept.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		s := tries{ctx: t.Context(), end: begin.Add(time.Minute), n: 2, last: "x"}
		rounds := 0
		for s.pause() == nil {
			if rounds++; rounds == 1 && time.Since(begin) > 0 {
				t.Error("waited before the second master was tried")
			}
		}
		if took := time.Since(begin); took > time.Minute || took < time.Minute-longestPause {
			t.Errorf("gave up after %v", took)
		}
		if rounds < 60 || rounds > 150 {
			t.Errorf("%d attempts in a minute", rounds)
		}
	})
}
