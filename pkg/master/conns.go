package master

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
)

// restartWait is how long a call to an agent waits for one that is just being restarted or upgraded.
const restartWait = 3 * time.Second

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

// ready is get for a call that should not fail only because the other end is being restarted: it waits a moment for the connection to
// stand. Whether it does or not, the call will tell.
func (c *conns) ready(ctx context.Context, addr string) (*grpc.ClientConn, error) {
	conn, err := c.get(addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, restartWait)
	defer cancel()
	for {
		state := conn.GetState()
		if state == connectivity.Ready {
			return conn, nil
		}
		conn.Connect()
		if !conn.WaitForStateChange(ctx, state) {
			return conn, nil
		}
	}
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
