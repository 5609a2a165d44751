package master

import (
	"sync"

	"google.golang.org/grpc"
)

// conns keeps one connection to each address that this master talks to: other masters and agents.
type conns struct {
	dial func(addr string) (*grpc.ClientConn, error)

	mu   sync.Mutex
	open map[string]*grpc.ClientConn
}

// get returns the connection to addr. It connects, and connects again, by itself.
func (c *conns) get(addr string) (*grpc.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn := c.open[addr]; conn != nil {
		return conn, nil
	}
	conn, err := c.dial(addr)
	if err != nil {
		return nil, err
	}
	if c.open == nil {
		c.open = map[string]*grpc.ClientConn{}
	}
	c.open[addr] = conn
	return conn, nil
}

// close closes all of them.
func (c *conns) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.open {
		conn.Close()
	}
	c.open = nil
}
