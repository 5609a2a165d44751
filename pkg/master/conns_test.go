package master

import (
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/vzcluster/vzcluster/pkg/rpc"
)

// TestReadyWaitsForRestart: a connection whose other end was down a moment ago stands again when a call needs it.
func TestReadyWaitsForRestart(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := lis.Addr().String()
	lis.Close() // the agent is down
	c := &conns{dial: func(a string) (*grpc.ClientConn, error) { return rpc.Dial(a) }}
	defer c.close()
	conn, err := c.get(addr)
	if err != nil {
		t.Fatal(err)
	}
	conn.Connect()
	for conn.GetState() != connectivity.TransientFailure {
		conn.WaitForStateChange(t.Context(), conn.GetState())
	}
	if lis, err = net.Listen("tcp", addr); err != nil { // and back
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	defer srv.Stop()
	go srv.Serve(lis)
	if conn, err = c.ready(t.Context(), addr); err != nil || conn.GetState() != connectivity.Ready {
		t.Errorf("after the restart: %v, %v", conn.GetState(), err)
	}
}
