package cli

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// How a client tries.
const (
	connectTime  = 3 * time.Second        // for one master's connection to stand
	answerTime   = 20 * time.Second       // for one master's answer to one call
	firstPause   = 100 * time.Millisecond // after all masters were tried once; doubles
	longestPause = 2 * time.Second
	unknownTries = 5 // answers UNKNOWN, until it is believed that asking again won't help
)

// Dialer makes a connection that connects by itself: rpc.Dial.
type Dialer func(addr string) (*grpc.ClientConn, error)

// Client talks to whichever master answers. It is used by one goroutine at a time.
type Client struct {
	addrs   []string
	dial    Dialer
	current int // the master that answered last
	conns   map[string]*grpc.ClientConn
}

// NewClient makes a client of the masters at addrs. Nothing is connected yet.
func NewClient(addrs []string, dial Dialer) *Client {
	return &Client{addrs: addrs, dial: dial, conns: map[string]*grpc.ClientConn{}}
}

// Close closes all connections.
func (c *Client) Close() {
	for _, conn := range c.conns {
		_ = conn.Close() // nothing is in flight any more
	}
}

// Call is one attempt of a call: it uses the stub and passes opts on.
type Call func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) error

// Read runs a call that changes nothing, until a master answers it or window is over.
func (c *Client) Read(ctx context.Context, window time.Duration, call Call) error {
	return c.run(ctx, window, answerTime, "", call)
}

// Mutate runs a call that carries the operation key op, until a master answers it or window is over. Because of the key it may be sent
// any number of times. Errors carry the key.
func (c *Client) Mutate(ctx context.Context, window time.Duration, op string, call Call) error {
	return c.run(ctx, window, answerTime, op, call)
}

// Upload is Mutate for a call that may take as long as it needs once it is under way.
func (c *Client) Upload(ctx context.Context, window time.Duration, op string, call Call) error {
	return c.run(ctx, window, 0, op, call)
}

// run is the retry loop. It keeps apart what never left this machine, what was refused, and what may have been done.
func (c *Client) run(ctx context.Context, window, each time.Duration, op string, call Call) error {
	t := tries{ctx: ctx, end: time.Now().Add(window), n: len(c.addrs), op: op}
	for {
		addr := c.addrs[c.current]
		conn, err := c.ready(ctx, addr, min(connectTime, time.Until(t.end)))
		if err == nil {
			var answered bool
			answered, err = attempt(ctx, conn, each, call)
			if err == nil {
				return nil
			}
			if final := t.refused(addr, answered, err); final != nil {
				return final
			}
		} else {
			t.last = fmt.Sprintf("%s: %v", addr, err)
		}
		c.current = (c.current + 1) % len(c.addrs)
		if final := t.pause(); final != nil {
			return final
		}
	}
}

// attempt makes one call and tells whether the master answered it: a broken connection gives UNAVAILABLE, too.
func attempt(ctx context.Context, conn *grpc.ClientConn, limit time.Duration, call Call) (answered bool, err error) {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	var header, trailer metadata.MD
	err = call(ctx, vzpb.NewClusterClient(conn), grpc.Header(&header), grpc.Trailer(&trailer))
	return len(header)+len(trailer) > 0, err
}

// tries is what a retry loop knows of the attempts so far.
type tries struct {
	ctx     context.Context
	end     time.Time
	n       int // masters
	op      string
	round   int
	sent    bool   // something may have been done
	unknown int    // answers UNKNOWN
	last    string // what the last attempt ended with
	said    string // what a master answered last: tells more than another one's silence
}

// refused judges the error of an attempt that was sent: nil means try again.
func (t *tries) refused(addr string, answered bool, err error) error {
	var own *Error
	if errors.As(err, &own) {
		return own // the trouble is on this side
	}
	t.last = fmt.Sprintf("%s: %s", addr, status.Convert(err).Message())
	if answered {
		t.said = t.last
	}
	switch code := status.Code(err); {
	case t.ctx.Err() != nil:
		t.sent = true
		return t.over()
	case code == codes.Unavailable && answered:
		return nil // said so by a master: it has no leader to ask
	case code == codes.Unavailable, code == codes.DeadlineExceeded, code == codes.Canceled:
		t.sent = true
		return nil
	case code == codes.Unknown:
		t.sent = true
		if t.unknown++; t.unknown >= unknownTries {
			return t.over()
		}
		return nil
	}
	e := FromStatus(err)
	e.Op = t.op
	return e
}

// pause waits before the next attempt: not at all until every master was tried, then longer and longer. It returns the error to end
// with when there is no time left.
func (t *tries) pause() error {
	t.round++
	var d time.Duration
	if t.round%t.n == 0 {
		d = min(firstPause<<min(t.round/t.n-1, 10), longestPause)
		d = d/2 + rand.N(d/2+1) // many clients must not come at the same moment
	}
	if t.ctx.Err() != nil || time.Until(t.end) <= d {
		return t.over()
	}
	select {
	case <-t.ctx.Done():
		return t.over()
	case <-time.After(d):
		return nil
	}
}

// over says how it stands when the time is over or the operator has had enough.
func (t *tries) over() error {
	mutation := t.op != ""
	if t.said != "" {
		t.last = t.said
	}
	switch {
	case mutation && t.sent:
		return Unknown(t.op, "no answer to the order ("+t.last+")")
	case t.ctx.Err() != nil && t.last == "":
		return Errorf(Interrupted, "interrupted; nothing was asked of the cluster")
	case t.ctx.Err() != nil:
		return Errorf(Interrupted, "interrupted; nothing was changed (%s)", t.last)
	}
	what := ""
	if mutation {
		what = "; nothing was changed"
	}
	e := Errorf(Unreachable, "none of %d masters can do it now (last: %s)%s", t.n, t.last, what)
	e.Op = t.op
	return e
}

// Unknown is the error for an outcome that was never heard, with the ways to find it out.
func Unknown(op, why string) *Error {
	return &Error{Code: UnknownOutcome, Op: op, Retryable: true,
		Message: fmt.Sprintf("%s; operation %s: see 'vzctl-cluster job show %s', or repeat the command with --op-key %s", why, op, op, op)}
}

// ready returns a connection to addr that stands. What fails here was never sent.
func (c *Client) ready(ctx context.Context, addr string, limit time.Duration) (*grpc.ClientConn, error) {
	conn, ok := c.conns[addr]
	if !ok {
		var err error
		if conn, err = c.dial(addr); err != nil {
			return nil, err
		}
		c.conns[addr] = conn
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn.Connect()
	for {
		s := conn.GetState()
		switch s {
		case connectivity.Ready:
			return conn, nil
		case connectivity.Idle:
			conn.Connect()
		case connectivity.TransientFailure, connectivity.Shutdown:
			// A new connection next time: this one would wait for its back-off, and the pauses are ours.
			delete(c.conns, addr)
			_ = conn.Close()
			return nil, errors.New("cannot connect")
		}
		if !conn.WaitForStateChange(ctx, s) {
			return nil, errors.New("does not answer")
		}
	}
}

// FromStatus turns a gRPC error into one for the operator.
func FromStatus(err error) *Error {
	st := status.Convert(err)
	e := &Error{Code: codeOf(st.Code()), Message: strings.TrimSpace(st.Message())}
	e.Retryable = st.Code() == codes.Unavailable || st.Code() == codes.Aborted || st.Code() == codes.ResourceExhausted
	if st.Code() == codes.Unimplemented {
		e.Message = "the masters are older than this command: " + e.Message
	}
	if e.Message == "" {
		e.Message = st.Code().String()
	}
	return e
}

// codeOf is the table in proto/cluster.proto.
func codeOf(c codes.Code) Code {
	switch c {
	case codes.InvalidArgument, codes.OutOfRange:
		return Usage
	case codes.NotFound:
		return NotFound
	case codes.FailedPrecondition, codes.AlreadyExists, codes.Aborted, codes.ResourceExhausted:
		return Conflict
	case codes.Unavailable:
		return Unreachable
	case codes.PermissionDenied, codes.Unauthenticated:
		return Denied
	case codes.DeadlineExceeded, codes.Unknown:
		return UnknownOutcome
	}
	return Internal
}

// Connect returns a connection to any master, trying until window is over: for a call that must not be sent twice.
func (c *Client) Connect(ctx context.Context, window time.Duration) (vzpb.ClusterClient, error) {
	t := tries{ctx: ctx, end: time.Now().Add(window), n: len(c.addrs)}
	for {
		addr := c.addrs[c.current]
		conn, err := c.ready(ctx, addr, min(connectTime, time.Until(t.end)))
		if err == nil {
			return vzpb.NewClusterClient(conn), nil
		}
		t.last = fmt.Sprintf("%s: %v", addr, err)
		c.current = (c.current + 1) % len(c.addrs)
		if final := t.pause(); final != nil {
			return nil, final
		}
	}
}
