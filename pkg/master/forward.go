package master

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// hopKey marks a call that another master has forwarded. It is never forwarded again: two masters that each take the other for the
// leader must not play ping-pong.
const hopKey = "vz-forwarded-by"

// forwardConnect is how long a follower tries to reach the leader.
const forwardConnect = 2 * time.Second

// noLeader is the answer while nobody leads.
func noLeader(why string) error {
	return status.Errorf(codes.Unavailable, "no leader: %s; nothing was changed, try again in some seconds", why)
}

// notLeading is how a session ends on a master that does not lead.
func (m *Master) notLeading() error {
	addr, _ := m.store.Leader()
	if addr == m.cfg.Advertise {
		addr = "" // so far only by raft's word; the term has not begun, or is ending
	}
	return status.Errorf(codes.FailedPrecondition, "leader: %s", addr)
}

// leaderFor tells where to forward a call of the Cluster service; nil means: serve it here.
func (m *Master) leaderFor(ctx context.Context, method string) (*grpc.ClientConn, error) {
	if !isCluster(method) || ownMethods[method] || m.term.Load() != nil {
		return nil, nil
	}
	if md, ok := metadata.FromIncomingContext(ctx); ok && len(md.Get(hopKey)) > 0 {
		return nil, noLeader("the leadership is moving")
	}
	addr, ok := m.store.Leader()
	switch {
	case !ok || addr == "":
		return nil, noLeader("the masters have no quorum or are electing one")
	case addr == m.cfg.Advertise:
		return nil, noLeader("this master is just taking over")
	}
	conn, err := m.conns.get(addr)
	if err != nil {
		return nil, noLeader(err.Error())
	}
	return conn, nil
}

// outgoing passes the caller's metadata on, with the hop marker.
func (m *Master) outgoing(ctx context.Context) context.Context {
	md, _ := metadata.FromIncomingContext(ctx)
	md = md.Copy()
	for key := range md {
		// gRPC sets these itself for each hop.
		if strings.HasPrefix(key, ":") || strings.HasPrefix(key, "grpc-") || key == "content-type" || key == "user-agent" {
			delete(md, key)
		}
	}
	if md == nil {
		md = metadata.MD{}
	}
	md.Set(hopKey, m.cfg.ID)
	return metadata.NewOutgoingContext(ctx, md)
}

// forwardUnary sends unary calls on a follower to the leader.
func (m *Master) forwardUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if wantsStale(ctx, info.FullMethod) {
		return next(context.WithValue(ctx, staleContext{}, true), req)
	}
	conn, err := m.leaderFor(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	if conn == nil {
		return next(ctx, req)
	}
	_, out, err := messages(info.FullMethod)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if err := connected(ctx, conn); err != nil {
		return nil, noLeader("the leader can't be reached")
	}
	var header, trailer metadata.MD
	if err := conn.Invoke(m.outgoing(ctx), info.FullMethod, req, out, grpc.Header(&header), grpc.Trailer(&trailer)); err != nil {
		key := ""
		if r, ok := req.(keyed); ok {
			key = r.GetOpKey()
		}
		return nil, lostMutation(key, len(header)+len(trailer) > 0, err)
	}
	return out, nil
}

// connected waits until conn stands. What fails here was never sent.
func connected(ctx context.Context, conn *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(ctx, forwardConnect)
	defer cancel()
	conn.Connect()
	for {
		s := conn.GetState()
		switch s {
		case connectivity.Ready:
			return nil
		case connectivity.TransientFailure, connectivity.Shutdown:
			return errors.New("no connection")
		case connectivity.Idle:
			conn.Connect()
		}
		if !conn.WaitForStateChange(ctx, s) {
			return ctx.Err()
		}
	}
}

// lostMutation gives the error of a forwarded call its meaning: a leader that is gone without an answer may have done what the operation
// key says, or its successor may find it in the log.
func lostMutation(key string, answered bool, err error) error {
	if key == "" || answered {
		return err
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded:
		return status.Errorf(codes.Unknown, "the outcome is not known: the leader was lost during the call (%s); ask again with the same operation key", status.Convert(err).Message())
	}
	return err
}

// forwardStream relays streaming calls on a follower to the leader, both ways.
func (m *Master) forwardStream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	conn, err := m.leaderFor(ss.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	if conn == nil {
		return next(srv, ss)
	}
	ctx, cancel := context.WithCancel(m.outgoing(ss.Context()))
	defer cancel()
	desc := &grpc.StreamDesc{StreamName: info.FullMethod, ServerStreams: true, ClientStreams: true}
	cs, err := conn.NewStream(ctx, desc, info.FullMethod)
	if err != nil {
		return err
	}
	in, out, err := messages(info.FullMethod)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	var key atomic.Pointer[string] // of an upload
	go pump(cs, ss, in, cancel, func(msg proto.Message) {
		if up, ok := msg.(*vzpb.ImportTemplateRequest); ok && up.GetHeader() != nil {
			k := up.GetHeader().OpKey
			key.Store(&k)
		}
	})
	for {
		msg := out.ProtoReflect().New().Interface()
		if err := cs.RecvMsg(msg); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			if k := key.Load(); k != nil {
				return lostMutation(*k, len(cs.Trailer()) > 0, err)
			}
			return err
		}
		send := func() error { return ss.SendMsg(msg) }
		if watchMethods[info.FullMethod] {
			err = within(ss.Context(), send)
		} else {
			err = send()
		}
		if err != nil {
			return err
		}
	}
}

// pump sends what the client sends, and shows it to look before. It ends with the client's half of the stream, or with the call.
func pump(cs grpc.ClientStream, ss grpc.ServerStream, kind proto.Message, cancel func(), look func(proto.Message)) {
	for {
		msg := kind.ProtoReflect().New().Interface()
		if err := ss.RecvMsg(msg); err != nil {
			if errors.Is(err, io.EOF) {
				_ = cs.CloseSend() // its error shows at RecvMsg
			} else {
				cancel()
			}
			return
		}
		look(msg)
		if cs.SendMsg(msg) != nil {
			return // the reason shows at RecvMsg
		}
	}
}

// messages returns empty messages of the types that a method takes and answers.
func messages(fullMethod string) (in, out proto.Message, err error) {
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(fullMethod, "/"), "/", "."))
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", fullMethod, err)
	}
	method, ok := d.(protoreflect.MethodDescriptor)
	if !ok {
		return nil, nil, fmt.Errorf("%s is not a method", fullMethod)
	}
	empty := func(d protoreflect.MessageDescriptor) (proto.Message, error) {
		t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", fullMethod, err)
		}
		return t.New().Interface(), nil
	}
	if in, err = empty(method.Input()); err != nil {
		return nil, nil, err
	}
	out, err = empty(method.Output())
	return in, out, err
}
