package raftlog_test

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// network connects members through pipes in memory, so that raft can run in virtual time.
type network struct {
	mu    sync.Mutex
	peers map[string]*layer
	cut   map[string]bool
	conns map[*conn]bool
}

func newNetwork() *network {
	return &network{peers: make(map[string]*layer), cut: make(map[string]bool), conns: make(map[*conn]bool)}
}

// layer is one member's end.
type layer struct {
	net      *network
	addr     string
	incoming chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

type conn struct {
	net.Conn
	net      *network
	from, to string
}

var errCut = errors.New("no route")

func (n *network) listen(addr string) func() (raft.StreamLayer, error) {
	return func() (raft.StreamLayer, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		l := &layer{net: n, addr: addr, incoming: make(chan net.Conn), closed: make(chan struct{})}
		n.peers[addr] = l
		return l, nil
	}
}

func (n *network) setCut(addr string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[addr] = cut
	if cut {
		n.sever(addr)
	}
}

func (n *network) sever(addr string) {
	for c := range n.conns {
		if c.from == addr || c.to == addr {
			c.Conn.Close()
			delete(n.conns, c)
		}
	}
}

func (c *conn) Close() error {
	c.net.mu.Lock()
	delete(c.net.conns, c)
	c.net.mu.Unlock()
	return c.Conn.Close()
}

func (l *layer) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	l.net.mu.Lock()
	peer := l.net.peers[string(to)]
	if peer == nil || l.net.cut[l.addr] || l.net.cut[string(to)] {
		l.net.mu.Unlock()
		return nil, errCut
	}
	a, b := net.Pipe()
	here, there := &conn{a, l.net, l.addr, string(to)}, &conn{b, l.net, l.addr, string(to)}
	l.net.conns[here], l.net.conns[there] = true, true
	l.net.mu.Unlock()
	select {
	case peer.incoming <- there:
		return here, nil
	case <-peer.closed:
	case <-l.closed:
	case <-time.After(timeout):
	}
	here.Close()
	there.Close()
	return nil, errCut
}

func (l *layer) Accept() (net.Conn, error) {
	select {
	case c := <-l.incoming:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *layer) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.net.mu.Lock()
		defer l.net.mu.Unlock()
		if l.net.peers[l.addr] == l {
			delete(l.net.peers, l.addr)
		}
		l.net.sever(l.addr)
	})
	return nil
}

type addr string

func (addr) Network() string    { return "pipe" }
func (a addr) String() string   { return string(a) }
func (l *layer) Addr() net.Addr { return addr(l.addr) }
