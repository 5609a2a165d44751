package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/rpc"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

const (
	// callTimeout is how long a client waits for one answer before it asks another master.
	callTimeout = 3 * time.Second
	// retryPause spares masters that are electing.
	retryPause = 20 * time.Millisecond
)

// Load is clients that write and read registers until they are told to stop.
type Load struct {
	History *History
	// Registers are the names of nodes, as given to [Nodes].
	Registers []string
	// Writers and Readers are how many clients of each kind run. Each of them goes from master to master when it gets no answer.
	Writers, Readers int
	// Pause is how long a client waits between two calls; 0: not at all.
	Pause time.Duration

	conns []*grpc.ClientConn
	run   int64 // makes values and operation keys unique
}

// Run drives the masters until ctx ends; then it waits for the calls that are under way, which get grace to end. The error says
// that a master refused what it must not refuse.
func (l *Load) Run(ctx context.Context, masters []string, grace time.Duration) error {
	conns, closeAll, err := dial(masters)
	if err != nil {
		return err
	}
	defer closeAll()
	l.conns = conns
	l.run = time.Now().UnixNano()

	// A write that has begun is finished after ctx has ended: an open outcome is what makes a history hard to judge.
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	defer stop()
	var all errgroup.Group
	for i := range l.Writers {
		all.Go(func() error { return l.loop(ctx, i, func(c *client, n int) error { return l.write(late, c, n) }) })
	}
	for i := range l.Readers {
		all.Go(func() error { return l.loop(ctx, l.Writers+i, func(c *client, _ int) error { return l.read(ctx, c) }) })
	}
	return all.Wait()
}

func dial(masters []string) (conns []*grpc.ClientConn, closeAll func(), err error) {
	closeAll = func() {
		for _, c := range conns {
			_ = c.Close() // nothing is in flight any more
		}
	}
	for _, addr := range masters {
		conn, err := rpc.Dial(addr)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		conns = append(conns, conn)
	}
	return conns, closeAll, nil
}

// client is one caller: it stays with a master that answers, and goes to the next one when it does not.
type client struct {
	id     int
	master int
}

func (l *Load) loop(ctx context.Context, id int, call func(c *client, n int) error) error {
	c := &client{id, id}
	for n := 0; ctx.Err() == nil; n++ {
		if err := call(c, n); err != nil {
			return err
		}
		if l.Pause > 0 {
			select {
			case <-time.After(l.Pause):
			case <-ctx.Done():
			}
		}
	}
	return nil
}

// write makes one write with one operation key, at one master after the other until one acknowledges it: so it is done once, at some
// time between the first try and the acknowledgement, or the history shows that it was not.
func (l *Load) write(ctx context.Context, c *client, n int) error {
	register := l.Registers[rand.IntN(len(l.Registers))]
	w := Write{Key: fmt.Sprintf("load-%d-%d-%d", l.run, c.id, n), Register: register, Value: fmt.Sprintf("%d-%d-%d", l.run%1e9, c.id, n)}
	call := l.History.now()
	for {
		err := l.ask(ctx, c, func(ctx context.Context, api vzpb.ClusterClient) error {
			_, err := api.CordonNode(ctx, &vzpb.CordonNodeRequest{OpKey: w.Key, Name: register, Cordon: true, Reason: w.Value})
			return err
		})
		switch {
		case err == nil:
			w.At = time.Now()
			l.History.wrote(c.id, w, call, l.History.now())
			return nil
		case ctx.Err() != nil:
			l.History.pending(c.id, register, w.Value, call)
			return nil
		case !passing(err):
			return fmt.Errorf("write %s: %w", register, err)
		}
		l.History.fail()
	}
}

// read makes one read at one master; without an answer it tells nothing.
func (l *Load) read(ctx context.Context, c *client) error {
	register := l.Registers[rand.IntN(len(l.Registers))]
	call := l.History.now()
	var value string
	err := l.ask(ctx, c, func(ctx context.Context, api vzpb.ClusterClient) (err error) {
		value, err = readRegister(ctx, api, register)
		return err
	})
	switch {
	case err == nil:
		l.History.read(c.id, register, value, call, l.History.now())
	case ctx.Err() != nil:
	case !passing(err):
		return fmt.Errorf("read %s: %w", register, err)
	default:
		l.History.fail()
	}
	return nil
}

// ReadOf makes one read at one master, which may answer as late as wait allows, and records what it answered. answered: it did.
func (l *Load) ReadOf(ctx context.Context, client int, master string, wait time.Duration) (answered bool, err error) {
	conns, closeAll, err := dial([]string{master})
	if err != nil {
		return false, err
	}
	defer closeAll()
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	register := l.Registers[client%len(l.Registers)]
	call := l.History.now()
	value, err := readRegister(ctx, vzpb.NewClusterClient(conns[0]), register)
	switch {
	case err == nil:
		l.History.read(client, register, value, call, l.History.now())
		return true, nil
	case passing(err):
		return false, nil
	}
	return false, err
}

// ask makes one call at the client's master; after a failure it pauses, and the next master is the client's.
func (l *Load) ask(ctx context.Context, c *client, call func(context.Context, vzpb.ClusterClient) error) error {
	one, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := call(one, vzpb.NewClusterClient(l.conns[c.master%len(l.conns)]))
	if err != nil {
		c.master++
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
		}
	}
	return err
}

// passing tells whether an error is one that a fail-over may cause. ABORTED and the like are not: nobody competes for these records
// in a way that the leader may not resolve by itself.
func passing(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.Unknown, codes.DeadlineExceeded, codes.Canceled:
		return true
	}
	return errors.Is(err, context.DeadlineExceeded)
}

func readRegister(ctx context.Context, api vzpb.ClusterClient, register string) (string, error) {
	list, err := api.ListNodes(ctx, &vzpb.ListNodesRequest{Name: register})
	if err != nil {
		return "", err
	}
	if len(list.GetNodes()) != 1 {
		return "", fmt.Errorf("%d nodes with the name %s", len(list.GetNodes()), register)
	}
	var n cluster.Node
	if err := json.Unmarshal(list.GetNodes()[0].GetJson(), &n); err != nil {
		return "", err
	}
	return n.CordonReason, nil
}

// Lost returns those of the acknowledged writes whose operation the masters do not know: there must be none.
func Lost(ctx context.Context, masters []string, writes []Write) ([]Write, error) {
	conns, closeAll, err := dial(masters)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	var lost []Write
	asked := 0 // the master that answered last
	for _, w := range writes {
		known, err := knows(ctx, conns, &asked, w.Key)
		if err != nil {
			return nil, fmt.Errorf("look for operation %s: %w", w.Key, err)
		}
		if !known {
			lost = append(lost, w)
		}
	}
	return lost, nil
}

func knows(ctx context.Context, conns []*grpc.ClientConn, at *int, key string) (bool, error) {
	for ; ; *at++ {
		one, cancel := context.WithTimeout(ctx, callTimeout)
		_, err := vzpb.NewClusterClient(conns[*at%len(conns)]).GetOperation(one, &vzpb.GetOperationRequest{OpKey: key})
		cancel()
		switch {
		case err == nil:
			return true, nil
		case status.Code(err) == codes.NotFound:
			return false, nil
		case ctx.Err() != nil || !passing(err):
			return false, err
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}
