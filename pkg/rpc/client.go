package rpc

import (
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// Dial makes a connection to addr ("host:port", or "unix:///path" for a socket such as the lab's relays). It does not wait until the
// connection stands: the first call does, or fails with UNAVAILABLE. The connection re-connects by itself, at most two seconds apart, so that a restarted peer is found again soon.
// opts are added to (and win over) the common ones.
func Dial(addr string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	// passthrough: the address is dialled as it stands, at each attempt anew; a resolver's cache would only get in the way.
	target := "passthrough:///" + addr
	if strings.HasPrefix(addr, "unix:///") {
		target = addr
	} else if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, fmt.Errorf("dial %q: not a host:port address: %w", addr, err)
	}
	all := append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true,
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxSend), grpc.MaxCallSendMsgSize(MaxReceive)),
		grpc.WithNoProxy(), // a cluster's own addresses are never behind the proxy that the environment names
	}, opts...)
	conn, err := grpc.NewClient(target, all...)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return conn, nil
}
