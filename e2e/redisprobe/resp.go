package redisprobe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// Conn is a connection to a Redis. It is not for use by several goroutines, except one that sends and one that receives.
type Conn struct {
	nc net.Conn
	r  *bufio.Reader
	w  *bufio.Writer
}

// RedisError is an error that the server replied; the connection is well.
type RedisError string

// Error returns the server's words.
func (e RedisError) Error() string { return "redis: " + string(e) }

// maxReply bounds what a length in a reply may claim.
const maxReply = 512 << 20

// Dial connects to a Redis at addr (host:port).
func Dial(ctx context.Context, addr string) (*Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	return NewConn(nc), nil
}

// NewConn speaks the Redis protocol over a connection.
func NewConn(nc net.Conn) *Conn {
	return &Conn{nc: nc, r: bufio.NewReaderSize(nc, 64<<10), w: bufio.NewWriterSize(nc, 256<<10)}
}

// Close closes the connection.
func (c *Conn) Close() error { return c.nc.Close() }

// LocalAddr is our end of the connection.
func (c *Conn) LocalAddr() string { return c.nc.LocalAddr().String() }

// Send puts a command into the send buffer.
func (c *Conn) Send(args ...string) error {
	c.w.WriteByte('*') //nolint:errcheck // bufio keeps the first error for the last write
	c.w.WriteString(strconv.Itoa(len(args)))
	c.w.WriteString("\r\n")
	var err error
	for _, a := range args {
		c.w.WriteByte('$') //nolint:errcheck // as above
		c.w.WriteString(strconv.Itoa(len(a)))
		c.w.WriteString("\r\n")
		c.w.WriteString(a)
		_, err = c.w.WriteString("\r\n")
	}
	if err != nil {
		return fmt.Errorf("redis: send: %w", err)
	}
	return nil
}

// Flush sends what is in the buffer.
func (c *Conn) Flush() error {
	if err := c.w.Flush(); err != nil {
		return fmt.Errorf("redis: send: %w", err)
	}
	return nil
}

// Receive reads one reply: string, int64, []any, or nil. An error of type RedisError is a reply as well.
func (c *Conn) Receive() (any, error) {
	v, err := c.read(0)
	var said RedisError
	if err != nil && !errors.As(err, &said) {
		return nil, fmt.Errorf("redis: receive: %w", err)
	}
	return v, err
}

func (c *Conn) read(depth int) (any, error) {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	if len(line) < 3 || line[len(line)-2] != '\r' || depth > 8 {
		return nil, fmt.Errorf("malformed reply %.40q", line)
	}
	kind, rest := line[0], line[1:len(line)-2]
	switch kind {
	case '+':
		return rest, nil
	case '-':
		return nil, RedisError(rest)
	}
	n, err := strconv.ParseInt(rest, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("malformed reply %.40q", line)
	}
	switch {
	case kind == ':':
		return n, nil
	case n == -1 && (kind == '$' || kind == '*'):
		return nil, nil
	case n < 0 || n > maxReply:
		return nil, fmt.Errorf("malformed reply %.40q", line)
	case kind == '$':
		buf := make([]byte, n+2)
		if _, err := io.ReadFull(c.r, buf); err != nil {
			return nil, err
		}
		return string(buf[:n]), nil
	case kind == '*':
		var list []any
		for range n {
			v, err := c.read(depth + 1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	}
	return nil, fmt.Errorf("malformed reply %.40q", line)
}

// Do sends a command and returns its reply.
func (c *Conn) Do(args ...string) (any, error) {
	if err := c.Send(args...); err != nil {
		return nil, err
	}
	if err := c.Flush(); err != nil {
		return nil, err
	}
	return c.Receive()
}

// Digest returns Redis' own digest of all its data (DEBUG DIGEST; the server must have enable-debug-command).
func (c *Conn) Digest() (string, error) {
	v, err := c.Do("DEBUG", "DIGEST")
	if err != nil {
		return "", fmt.Errorf("digest: %w", err)
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("digest: odd reply %v", v)
	}
	return s, nil
}

// WaitUp waits until a Redis at addr answers with its data loaded, and returns why it does not when ctx ends.
func WaitUp(ctx context.Context, addr string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ping(ctx, addr)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no redis at %s: %w", addr, err)
		case <-tick.C:
		}
	}
}

func ping(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := Dial(ctx, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	if err := c.nc.SetDeadline(deadline); err != nil {
		return err
	}
	_, err = c.Do("PING")
	return err
}
