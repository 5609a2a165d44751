package raftlog

import (
	"net"
	"time"

	"github.com/hashicorp/raft"
)

// tcpStream is raft's traffic over plain TCP.
type tcpStream struct{ net.Listener }

func listenTCP(addr string) (raft.StreamLayer, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	return tcpStream{l}, nil
}

// Dial implements [raft.StreamLayer].
func (tcpStream) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", string(addr), timeout)
}

// advertised is a stream layer that says of itself the address which the other masters dial: behind a wildcard or a translated
// address the listener does not know it.
type advertised struct {
	raft.StreamLayer
	addr string
}

func (a advertised) Addr() net.Addr { return hostPort(a.addr) }

type hostPort string

func (hostPort) Network() string  { return "tcp" }
func (h hostPort) String() string { return string(h) }
