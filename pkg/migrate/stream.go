package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vzcluster/vzcluster/proto/vzpb"
	"google.golang.org/grpc"
)

// errStream: the connection to the other agent is broken. That decides nothing; before the freeze it is simply made anew.
var errStream = errors.New("connection to the target lost")

// refusedError is the target's word that it can't take the attempt.
type refusedError struct{ reason string }

func (e *refusedError) Error() string { return "target: " + e.reason }

// outStream is the source's end of a transfer. Lock it for items that belong together; Send counts and limits.
type outStream struct {
	sync.Mutex
	ctx    context.Context
	cancel context.CancelFunc
	conn   *grpc.ClientConn
	stream grpc.BidiStreamingClient[vzpb.TransferFrame, vzpb.TransferReply]
	limit  *limiter
	buffer []byte

	opened   chan struct{}
	rounds   chan uint32
	released chan struct{}
	ended    chan struct{} // the reader has ended
	err      error         // why; read after ended
}

// TransferOptions are the dial options of the transfer's connection: windows that let one stream fill a fast link, and large buffers.
func TransferOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithInitialWindowSize(transferWindow), grpc.WithInitialConnWindowSize(2 * transferWindow),
		grpc.WithWriteBufferSize(transferBuffer), grpc.WithReadBufferSize(transferBuffer),
	}
}

// TransferServerOptions are the same for the server that takes the stream.
func TransferServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.InitialWindowSize(transferWindow), grpc.InitialConnWindowSize(2 * transferWindow),
		grpc.WriteBufferSize(transferBuffer), grpc.ReadBufferSize(transferBuffer),
	}
}

const (
	transferWindow = 16 << 20
	transferBuffer = 512 << 10
	openTimeout    = 10 * time.Second
)

// openStream connects to the target and waits for its choice of a version.
func openStream(ctx context.Context, dial func(string) (*grpc.ClientConn, error), a Assignment) (*outStream, error) {
	conn, err := dial(a.Peer)
	if err != nil {
		return nil, err
	}
	s := &outStream{
		conn: conn, limit: newLimiter(a.Migration.BWLimit), buffer: make([]byte, chunkSize),
		opened: make(chan struct{}), rounds: make(chan uint32, 16), released: make(chan struct{}), ended: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.stream, err = vzpb.NewNodeClient(conn).Transfer(s.ctx)
	if err != nil {
		s.cancel()
		conn.Close()
		return nil, fmt.Errorf("%w: %w", errStream, err)
	}
	go s.read()
	m := a.Migration
	err = s.Send(&vzpb.TransferFrame{Part: &vzpb.TransferFrame_Open{Open: &vzpb.TransferOpen{
		Migration: m.ID, Ctid: m.CTID, Epoch: uint64(m.Epoch), Source: m.Source, Target: m.Target,
		Versions: []vzpb.TransferVersion{vzpb.TransferVersion_TRANSFER_VERSION_1},
	}}})
	if err == nil {
		t := time.NewTimer(openTimeout)
		defer t.Stop()
		select {
		case <-s.opened:
			return s, nil
		case <-s.ended:
			err = s.err
		case <-t.C:
			err = fmt.Errorf("%w: no answer from %s", errStream, a.Peer)
		}
	}
	s.close()
	return nil, err
}

func (s *outStream) close() {
	s.cancel()
	<-s.ended
	s.conn.Close()
}

// broken tells why the stream can't be used any more; nil while it can.
func (s *outStream) broken() error {
	select {
	case <-s.ended:
		return s.err
	default:
		return nil
	}
}

// Send sends one frame. What is in it may be changed when it returns: it has been encoded.
func (s *outStream) Send(f *vzpb.TransferFrame) error {
	if d, ok := f.Part.(*vzpb.TransferFrame_Data); ok {
		if err := s.limit.take(s.ctx, len(d.Data.Data)); err != nil {
			return err
		}
	}
	if err := s.stream.Send(f); err != nil {
		if errors.Is(err, io.EOF) { // the other end has closed it: the reader knows why
			<-s.ended
			return s.err
		}
		return fmt.Errorf("%w: %w", errStream, err)
	}
	return nil
}

func (s *outStream) read() {
	defer close(s.ended)
	for {
		r, err := s.stream.Recv()
		if err != nil {
			s.err = fmt.Errorf("%w: %w", errStream, err)
			return
		}
		switch p := r.Part.(type) {
		case *vzpb.TransferReply_Opened:
			if p.Opened.Version != vzpb.TransferVersion_TRANSFER_VERSION_1 || isClosed(s.opened) {
				s.err = &refusedError{"it chose a version of the transfer protocol that was not offered"}
				return
			}
			close(s.opened)
		case *vzpb.TransferReply_RoundDone:
			select {
			case s.rounds <- p.RoundDone.Number:
			case <-s.ctx.Done():
			}
		case *vzpb.TransferReply_Failed:
			s.err = &refusedError{p.Failed.Reason}
			if p.Failed.Retryable {
				s.err = fmt.Errorf("%w: %s", errStream, p.Failed.Reason)
			}
			return
		case *vzpb.TransferReply_Released:
			if !isClosed(s.released) {
				close(s.released)
			}
		case *vzpb.TransferReply_Held: // the vote that counts goes to the masters
		}
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// roundDone waits for the target's word that a round is on its disk.
func (s *outStream) roundDone(ctx context.Context, number uint32) error {
	for {
		select {
		case n := <-s.rounds:
			if n == number {
				return nil
			}
		case <-s.ended:
			return s.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
