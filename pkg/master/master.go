package master

import (
	"context"
	"net"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/rpc"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// Log is the back end: agreement, and a loop of its own to run.
type Log interface {
	store.Log
	Run(ctx context.Context) error
}

// Master is one master.
type Master struct {
	cfg     Config
	log     Log
	store   *store.Store
	members Members // nil: see Members
	lis     net.Listener
	conns   *conns
	term    atomic.Pointer[term] // nil: this master does not lead

	peaks     peaks
	diverged  divergence
	expelled  chan *RefusedError // why this master may not go on, found out while it led
	watches   atomic.Int32
	confirmed atomic.Int64 // when a quorum last confirmed that this master leads, by time.UnixNano
}

// Option changes how a master is made.
type Option func(*Master)

// WithDialer replaces rpc.Dial, for tests without a network.
func WithDialer(dial func(addr string) (*grpc.ClientConn, error)) Option {
	return func(m *Master) { m.conns.dial = dial }
}

// New returns a master over log that will serve on lis. members is nil if others keep the log (etcd). Nothing happens before Run. It fails when cfg is not sound.
func New(cfg Config, log Log, members Members, lis net.Listener, opts ...Option) (*Master, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &Master{cfg: cfg, log: log, store: store.New(log), members: members, lis: lis, expelled: make(chan *RefusedError, 1),
		conns: &conns{dial: func(addr string) (*grpc.ClientConn, error) { return rpc.Dial(addr) }}}
	for _, o := range opts {
		o(m)
	}
	return m, nil
}

// Run takes part in the cluster until ctx ends, which is no error. The order of the end matters: first the loops and the server stop,
// then the log, which hands a leadership over while it still can.
func (m *Master) Run(ctx context.Context) error {
	defer m.conns.close()
	base, stopBase := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBase()
	under, base := errgroup.WithContext(base)
	under.Go(func() error { return m.log.Run(base) })
	under.Go(func() error { return m.store.Run(base) })

	// What runs on top ends with ctx, and when what is under it fails.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(base, cancel)()
	over, ctx := errgroup.WithContext(ctx)
	over.Go(func() error { return m.store.Lead(ctx, m.lead) })
	over.Go(func() error { return rpc.Serve(ctx, m.server(), m.lis) })
	over.Go(func() error { return m.join(ctx) })
	over.Go(func() error { return m.watchState(ctx) })

	err := over.Wait()
	stopBase()
	if underErr := under.Wait(); underErr != nil {
		return underErr
	}
	return err
}

// server makes the gRPC server with both services.
func (m *Master) server() *grpc.Server {
	srv := rpc.NewServer(grpc.ChainUnaryInterceptor(m.forwardUnary), grpc.ChainStreamInterceptor(m.forwardStream))
	vzpb.RegisterClusterServer(srv, &service{m: m})
	vzpb.RegisterSessionServer(srv, &sessions{m: m})
	return srv
}
