package rpc

import (
	"bytes"
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// node is a handler that misbehaves as told.
type node struct {
	vzpb.UnimplementedNodeServer
	deadline chan bool
}

func (n *node) ConsoleLog(ctx context.Context, r *vzpb.ConsoleLogRequest) (*vzpb.ConsoleLogResponse, error) {
	if r.Name == "panic" {
		panic("boom")
	}
	if n.deadline != nil {
		_, ok := ctx.Deadline()
		n.deadline <- ok
	}
	return &vzpb.ConsoleLogResponse{Data: bytes.Repeat([]byte{1}, int(r.MaxBytes))}, nil
}

func (n *node) Exec(grpc.BidiStreamingServer[vzpb.ExecRequest, vzpb.ExecResponse]) error {
	panic("boom")
}

func serve(t *testing.T, n *node) vzpb.NodeClient {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := NewServer()
	vzpb.RegisterNodeServer(srv, n)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, srv, lis) }()
	conn, err := Dial(lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve after an orderly end: %v", err)
		}
	})
	return vzpb.NewNodeClient(conn)
}

func TestPanicIsInternalAndServerLives(t *testing.T) {
	c := serve(t, &node{})
	ctx := context.Background()
	if _, err := c.ConsoleLog(ctx, &vzpb.ConsoleLogRequest{Name: "panic"}); status.Code(err) != codes.Internal {
		t.Fatalf("unary: got %v, want INTERNAL", err)
	}
	s, err := c.Exec(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); status.Code(err) != codes.Internal {
		t.Fatalf("stream: got %v, want INTERNAL", err)
	}
	if _, err := c.ConsoleLog(ctx, &vzpb.ConsoleLogRequest{}); err != nil {
		t.Fatalf("after the panics: %v", err)
	}
}

func TestUnaryGetsDeadline(t *testing.T) {
	n := &node{deadline: make(chan bool, 1)}
	c := serve(t, n)
	if _, err := c.ConsoleLog(context.Background(), &vzpb.ConsoleLogRequest{}); err != nil {
		t.Fatal(err)
	}
	if !<-n.deadline {
		t.Fatal("a call without deadline reached the handler without one")
	}
}

func TestLimits(t *testing.T) {
	c := serve(t, &node{})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := c.ConsoleLog(ctx, &vzpb.ConsoleLogRequest{MaxBytes: MaxReceive + 1}); err != nil {
		t.Fatalf("a large answer: %v", err)
	}
	name := string(bytes.Repeat([]byte{'x'}, MaxReceive+1))
	if _, err := c.ConsoleLog(ctx, &vzpb.ConsoleLogRequest{Name: name}); status.Code(err) != codes.ResourceExhausted {
		t.Fatalf("a request beyond MaxReceive: got %v, want RESOURCE_EXHAUSTED", err)
	}
}

func TestDialRefusesNonsense(t *testing.T) {
	for _, a := range []string{"", "host", "1:2:3"} {
		if _, err := Dial(a); err == nil {
			t.Errorf("Dial(%q) succeeded", a)
		}
	}
}
