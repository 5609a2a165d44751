package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// Limits of every server and client. Sizes in bytes.
const (
	// MaxReceive is the largest message that a server takes: far above a data frame (256 KiB) or a report of 1000 containers.
	MaxReceive = 4 << 20
	// MaxSend is the largest message that a server sends (lists).
	MaxSend = 16 << 20
	// MaxStreams is how many calls one connection may have open.
	MaxStreams = 128
	// UnaryTimeout is the deadline that a server gives a unary call which came without one.
	UnaryTimeout = 30 * time.Second

	maxHeaderList    = 16 << 10
	connectTimeout   = 5 * time.Second
	keepaliveTime    = 20 * time.Second
	keepaliveTimeout = 10 * time.Second
	keepaliveMin     = 10 * time.Second // a client that pings more often is cut off; must be below keepaliveTime
	stopGrace        = 3 * time.Second
)

// NewServer makes a server with the common limits. A panic in a handler answers that call with INTERNAL and is logged with its stack;
// the process lives on. opts are added to the common ones; interceptors given there run inside the common ones.
//
// There is deliberately no maximal connection age: sessions, exec streams and transfers may last for days, and cutting them would
// look like a fault.
func NewServer(opts ...grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append([]grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxReceive),
		grpc.MaxSendMsgSize(MaxSend),
		grpc.MaxConcurrentStreams(MaxStreams),
		grpc.MaxHeaderListSize(maxHeaderList),
		grpc.ConnectionTimeout(connectTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveMin, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(recoverUnary, deadlineUnary),
		grpc.ChainStreamInterceptor(recoverStream),
	}, opts...)...)
}

// Serve serves on lis until ctx ends, then stops: calls in flight get a moment to finish, then they are cut off. It returns nil after
// such an orderly end.
func Serve(ctx context.Context, srv *grpc.Server, lis net.Listener) error {
	done := make(chan error, 1)
	go func() { done <- srv.Serve(lis) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve %s: %w", lis.Addr(), err)
	case <-ctx.Done():
	}
	cut := time.AfterFunc(stopGrace, srv.Stop)
	srv.GracefulStop()
	cut.Stop()
	if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve %s: %w", lis.Addr(), err)
	}
	return nil
}

func recovered(method string, p any) error {
	slog.Error("panic in handler", "method", method, "panic", p, "stack", string(debug.Stack()))
	return status.Errorf(codes.Internal, "%s: internal error (a bug; the server's log has the details)", method)
}

func recoverUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (_ any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = recovered(info.FullMethod, p)
		}
	}()
	return next(ctx, req)
}

func recoverStream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = recovered(info.FullMethod, p)
		}
	}()
	return next(srv, ss)
}

func deadlineUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, UnaryTimeout)
		defer cancel()
	}
	return next(ctx, req)
}
