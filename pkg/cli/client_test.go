package cli

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/rpc"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// master answers CordonNode as told, and remembers the keys.
type master struct {
	vzpb.UnimplementedClusterServer
	answer func(n int) error // for the n-th call, from 1

	mu   sync.Mutex
	keys []string
}

func (m *master) CordonNode(_ context.Context, r *vzpb.CordonNodeRequest) (*vzpb.NodeResponse, error) {
	m.mu.Lock()
	m.keys = append(m.keys, r.OpKey)
	n := len(m.keys)
	m.mu.Unlock()
	if err := m.answer(n); err != nil {
		return nil, err
	}
	return &vzpb.NodeResponse{}, nil
}

func (m *master) calls() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.keys)
}

// serve starts a master on loopback.
func serve(t *testing.T, m *master) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := rpc.NewServer()
	vzpb.RegisterClusterServer(srv, m)
	go func() { _ = srv.Serve(lis) }() // ends with Stop
	t.Cleanup(srv.Stop)
	return lis.Addr().String()
}

// nobody returns an address where nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().String()
}

func client(t *testing.T, addrs ...string) *Client {
	c := NewClient(addrs, func(a string) (*grpc.ClientConn, error) { return rpc.Dial(a) })
	t.Cleanup(c.Close)
	return c
}

func cordon(key string) Call {
	return func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) error {
		_, err := stub.CordonNode(ctx, &vzpb.CordonNodeRequest{OpKey: key}, opts...)
		return err
	}
}

func always(c codes.Code) func(int) error {
	return func(int) error { return status.Error(c, "because") }
}

func TestMutateTriesOthersWithTheSameKey(t *testing.T) {
	leaderless := &master{answer: always(codes.Unavailable)}
	good := &master{answer: func(int) error { return nil }}
	c := client(t, nobody(t), serve(t, leaderless), serve(t, good))
	if err := c.Mutate(t.Context(), time.Minute, "k", cordon("k")); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(leaderless.calls(), []string{"k"}) || !slices.Equal(good.calls(), []string{"k"}) {
		t.Errorf("keys %v, %v", leaderless.calls(), good.calls())
	}
	// The one that answered is asked first the next time.
	if err := c.Mutate(t.Context(), time.Minute, "l", cordon("l")); err != nil || len(leaderless.calls()) != 1 {
		t.Errorf("%v; the leaderless master was asked %d times", err, len(leaderless.calls()))
	}
}

func TestMutateRetriesAfterUnknown(t *testing.T) {
	m := &master{answer: func(n int) error {
		if n < 3 {
			return status.Error(codes.Unknown, "leadership lost")
		}
		return nil
	}}
	c := client(t, serve(t, m))
	if err := c.Mutate(t.Context(), time.Minute, "k", cordon("k")); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(m.calls(), []string{"k", "k", "k"}) {
		t.Errorf("keys %v", m.calls())
	}
}

// TestCodes: what the masters say becomes what the operator sees, and only what may have been done is UNKNOWN_OUTCOME.
func TestCodes(t *testing.T) {
	for code, want := range map[codes.Code]Code{
		codes.InvalidArgument: Usage, codes.NotFound: NotFound, codes.FailedPrecondition: Conflict, codes.AlreadyExists: Conflict, codes.Aborted: Conflict,
		codes.ResourceExhausted: Conflict, codes.PermissionDenied: Denied, codes.Unauthenticated: Denied, codes.Internal: Internal,
		codes.Unimplemented: Internal, codes.Unavailable: Unreachable, codes.DeadlineExceeded: UnknownOutcome, codes.Unknown: UnknownOutcome,
	} {
		m := &master{answer: always(code)}
		window := time.Minute
		if want == Unreachable || want == UnknownOutcome {
			window = 2 * time.Second // it is asked again until then
		}
		err := client(t, serve(t, m)).Mutate(t.Context(), window, "k", cordon("k"))
		var e *Error
		if !errors.As(err, &e) || e.Code != want || e.Op != "k" || strings.Contains(e.Error(), "\n") {
			t.Errorf("%v: %+v, want %s", code, err, want)
		}
		if want == UnknownOutcome && !strings.Contains(e.Error(), "job show k") {
			t.Errorf("%v: no word on how to look it up: %s", code, e)
		}
	}
}

// TestLostConnection: the connection breaks after the request was sent, and nobody answers any more.
func TestLostConnection(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := rpc.NewServer()
	m := &master{answer: func(int) error {
		go srv.Stop() // closes the listener and cuts this very call off
		select {}
	}}
	vzpb.RegisterClusterServer(srv, m)
	go func() { _ = srv.Serve(lis) }() // ends with Stop
	err = client(t, lis.Addr().String()).Mutate(t.Context(), 2*time.Second, "k", cordon("k"))
	if e := AsError(err); e.Code != UnknownOutcome || e.Op != "k" {
		t.Errorf("%+v, want UNKNOWN_OUTCOME", e)
	}
}

func TestNobodyIsUnreachable(t *testing.T) {
	c := client(t, nobody(t), nobody(t))
	if e := AsError(c.Mutate(t.Context(), 300*time.Millisecond, "k", cordon("k"))); e.Code != Unreachable || !strings.Contains(e.Error(), "nothing was changed") {
		t.Errorf("%+v", e)
	}
	if e := AsError(c.Read(t.Context(), 300*time.Millisecond, cordon(""))); e.Code != Unreachable || e.Op != "" || !e.Retryable {
		t.Errorf("%+v", e)
	}
	if _, err := c.Connect(t.Context(), 300*time.Millisecond); AsError(err).Code != Unreachable {
		t.Errorf("%+v", err)
	}
}

// TestReasonOfAMaster: what a master says is reported, not that another one is dead.
func TestReasonOfAMaster(t *testing.T) {
	c := client(t, serve(t, &master{answer: always(codes.Unavailable)}), nobody(t))
	if e := AsError(c.Read(t.Context(), 2*time.Second, cordon(""))); e.Code != Unreachable || !strings.Contains(e.Error(), "because") {
		t.Errorf("%+v", e)
	}
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if e := AsError(client(t, nobody(t)).Mutate(ctx, time.Minute, "k", cordon("k"))); e.Code != Interrupted {
		t.Errorf("before anything was sent: %+v", e)
	}
	ctx, cancel = context.WithCancel(t.Context())
	hang := &master{}
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	hang.answer = func(int) error { cancel(); <-release; return nil }
	if e := AsError(client(t, serve(t, hang)).Mutate(ctx, time.Minute, "k", cordon("k"))); e.Code != UnknownOutcome {
		t.Errorf("after it was sent: %+v", e)
	}
}
