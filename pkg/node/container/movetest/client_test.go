package movetest

import (
	"bufio"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// client is one connection to a container's Redis that counts, and notices every number that is lost or comes twice.
type client struct {
	t    *testing.T
	conn *net.TCPConn
	stop chan struct{}
	done chan struct{}

	mu    sync.Mutex
	last  int64
	gap   time.Duration // the longest since the last look
	count int
	err   error
}

// dial connects as soon as Redis answers.
func dial(t *testing.T, addr string) *client {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		c, err := net.DialTimeout("tcp", addr, 300*time.Millisecond)
		if err == nil {
			cl := &client{t: t, conn: c.(*net.TCPConn), stop: make(chan struct{}), done: make(chan struct{})}
			go cl.run()
			t.Cleanup(cl.close)
			return cl
		}
		if time.Now().After(deadline) {
			t.Fatalf("redis at %s: %v", addr, err)
		}
	}
}

func (c *client) run() {
	defer close(c.done)
	r := bufio.NewReader(c.conn)
	before := time.Now()
	pause := time.NewTicker(time.Millisecond)
	defer pause.Stop()
	for {
		n, err := c.incr(r)
		now := time.Now()
		c.mu.Lock()
		if err == nil && c.last != 0 && n != c.last+1 {
			err = fmt.Errorf("counter went from %d to %d", c.last, n)
		}
		c.last, c.gap, c.count, c.err = n, max(c.gap, now.Sub(before)), c.count+1, err
		c.mu.Unlock()
		if err != nil {
			return
		}
		before = now
		select {
		case <-c.stop:
			return
		case <-pause.C:
		}
	}
}

func (c *client) incr(r *bufio.Reader) (int64, error) {
	_ = c.conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.conn.Write([]byte("INCR movetest\r\n")); err != nil {
		return 0, err
	}
	line, err := r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(strings.TrimPrefix(line, ":")), 10, 64)
}

// alive waits for some more answers and returns the longest gap since it was last called.
func (c *client) alive() time.Duration {
	c.t.Helper()
	gap, err := c.look()
	if err != nil {
		c.t.Fatalf("the connection broke: %v", err)
	}
	return gap
}

// works is alive for connections that may break.
func (c *client) works() bool {
	_, err := c.look()
	return err == nil
}

func (c *client) look() (time.Duration, error) {
	c.mu.Lock()
	want := c.count + 20
	c.mu.Unlock()
	for {
		c.mu.Lock()
		n, gap, err := c.count, c.gap, c.err
		c.mu.Unlock()
		if err != nil {
			return gap, err
		}
		if n >= want {
			c.mu.Lock()
			c.gap = 0
			c.mu.Unlock()
			return gap, nil
		}
		time.Sleep(time.Millisecond)
	}
}

// retransmits is how many segments the client's kernel had to send again.
func (c *client) retransmits() int {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		c.t.Fatal(err)
	}
	n := 0
	if err := raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = int(info.Total_retrans)
		}
	}); err != nil {
		c.t.Fatal(err)
	}
	return n
}

func (c *client) close() {
	select {
	case <-c.stop:
	default:
		close(c.stop)
	}
	c.conn.Close()
	<-c.done
}
