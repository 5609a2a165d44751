package master

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// sessions is the Session service.
type sessions struct {
	vzpb.UnimplementedSessionServer
	m *Master
}

// session is one agent's stream in this term.
type session struct {
	node   string
	boot   string
	starts uint64
	since  time.Time
	cancel context.CancelCauseFunc
}

var errReplaced = errors.New("a newer session of the same agent took over")

// Session serves one agent until the stream, the agent's place, or this leadership ends.
func (s *sessions) Session(stream grpc.BidiStreamingServer[vzpb.Report, vzpb.Directive]) error {
	t := s.m.term.Load()
	if t == nil {
		return s.m.notLeading()
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if err := cluster.ValidateNodeName(first.Node); err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	r, err := decode(first, time.Now())
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "report of node %s: %v", first.Node, err)
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	me := &session{node: first.Node, boot: r.BootID, starts: r.Starts, since: time.Now(), cancel: cancel}
	if err := t.live.join(me, r.At, s.m.cfg.Leases.silent()); err != nil {
		slog.Warn("session refused", "node", me.node, "boot", me.boot, "err", err)
		return err
	}
	defer t.live.leave(me)
	slog.Info("session", "node", me.node, "boot", me.boot, "agent_starts", me.starts, "version", r.Info.Version)
	stop := context.AfterFunc(t.ctx, func() { cancel(s.m.notLeading()) })
	defer stop()

	err = t.serve(ctx, stream, me, r)
	if cause := context.Cause(ctx); stream.Context().Err() == nil && cause != nil {
		if errors.Is(cause, errReplaced) {
			cause = status.Error(codes.Aborted, cause.Error())
		}
		err = cause
	}
	slog.Info("session ended", "node", me.node, "err", err)
	return err
}

// serve answers reports and pushes directives when something for this node has changed.
func (t *term) serve(ctx context.Context, stream grpc.BidiStreamingServer[vzpb.Report, vzpb.Directive], me *session, first *report) error {
	reports := make(chan *report)
	failed := make(chan error, 1)
	go func() { failed <- receive(ctx, stream, me.node, reports) }()

	sent, ack := "", first.Seq
	r, fresh := first, true
	for {
		if r != nil && !t.live.put(me, r) {
			return errReplaced
		}
		seen, changed := t.live.sight()
		d, err := directive(t.m.store.View(), me.node, seen)
		if err != nil {
			return status.Errorf(codes.Internal, "directive for %s: %v", me.node, err)
		}
		print, err := fingerprint(d)
		if err != nil {
			return status.Errorf(codes.Internal, "directive for %s: %v", me.node, err)
		}
		news := print != sent
		if news || fresh {
			if !news {
				d = &vzpb.Directive{}
			}
			d.Ack, d.Term = ack, t.number
			d.LeaseNs, d.PeriodNs = int64(t.m.cfg.Leases.Lease), int64(t.m.cfg.Leases.Period)
			if err := stream.Send(d); err != nil {
				return err
			}
			sent = print
		}
		r, fresh = nil, false
		select {
		case r = <-reports:
			ack, fresh = r.Seq, true
		case <-changed:
		case err := <-failed:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// receive decodes reports until the stream ends. It ends by itself at the latest when the handler returns.
func receive(ctx context.Context, stream grpc.BidiStreamingServer[vzpb.Report, vzpb.Directive], node string, out chan<- *report) error {
	for {
		p, err := stream.Recv()
		if err != nil {
			return err
		}
		if p.Node != node {
			return status.Errorf(codes.InvalidArgument, "a report of node %.64q in the session of %s", p.Node, node)
		}
		r, err := decode(p, time.Now())
		if err != nil {
			return status.Errorf(codes.InvalidArgument, "report of node %s: %v", node, err)
		}
		select {
		case out <- r:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// join makes s the node's session, unless an older one has the better right: a node's name belongs to one agent at a time.
func (l *live) join(s *session, now time.Time, silent time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.nodes[s.node]
	if n == nil {
		n = &liveNode{}
		l.nodes[s.node] = n
	}
	if old := n.session; old != nil {
		heard := old.since
		if n.last != nil && n.last.At.After(heard) {
			heard = n.last.At
		}
		if old.boot != s.boot && now.Sub(heard) < silent {
			return status.Errorf(codes.AlreadyExists, "node %s has a live session from another boot (%s); this one is %s: two hosts with one name? "+
				"Give one of them another --name; after a reboot this passes by itself in some seconds", s.node, old.boot, s.boot)
		}
		if old.boot == s.boot && s.starts < old.starts {
			return status.Errorf(codes.FailedPrecondition, "node %s: a newer agent (start %d) has taken over from this one (start %d)", s.node, old.starts, s.starts)
		}
		old.cancel(errReplaced)
	}
	n.session = s
	return nil
}

// leave takes s away. What it reported stays until the lease is over.
func (l *live) leave(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := l.nodes[s.node]; n != nil && n.session == s {
		n.session = nil
		l.bumpLocked()
	}
}
