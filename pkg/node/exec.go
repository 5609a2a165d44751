package node

import (
	"errors"
	"io"
	"sync"

	"github.com/vzcluster/vzcluster/proto/vzpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Exec implements the Node service.
func (s *server) Exec(stream grpc.BidiStreamingServer[vzpb.ExecRequest, vzpb.ExecResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	start := first.GetStart()
	if start == nil || len(start.Argv) == 0 {
		return status.Error(codes.InvalidArgument, "the first message must say what to run")
	}
	if err := s.running(start.Name); err != nil {
		return err
	}
	if err := s.a.enter(start.Name); err != nil {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	defer s.a.leave(start.Name)

	stdin, feed := io.Pipe()
	defer stdin.Close()
	resize := make(chan [2]uint16, 1)
	signals := make(chan int, 8)
	if z := start.Size; z != nil {
		resize <- [2]uint16{uint16(z.Rows), uint16(z.Cols)}
	}
	go receiveExec(stream, feed, resize, signals)

	out := &execOut{stream: stream}
	code, err := s.a.cfg.Runtime.Exec(stream.Context(), start.Name, ExecSpec{
		Argv: start.Argv, Env: start.Env, Cwd: start.Cwd, TTY: start.Tty, Stdin: stdin,
		Stdout: out.writer(false), Stderr: out.writer(true), Resize: resize, Signal: signals,
	})
	if err != nil {
		return status.Errorf(codes.FailedPrecondition, "exec in %s: %v", start.Name, err)
	}
	out.mu.Lock()
	defer out.mu.Unlock()
	return stream.Send(&vzpb.ExecResponse{Part: &vzpb.ExecResponse_ExitCode{ExitCode: int32(code)}})
}

// receiveExec passes on what the client sends, until the stream ends; it always does when the handler returns.
func receiveExec(stream grpc.BidiStreamingServer[vzpb.ExecRequest, vzpb.ExecResponse], feed *io.PipeWriter, resize chan [2]uint16, signals chan<- int) {
	for {
		m, err := stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.EOF
			}
			feed.CloseWithError(err)
			return
		}
		switch p := m.Part.(type) {
		case *vzpb.ExecRequest_Stdin:
			// An error means that the process does not read any more: that is its own affair.
			_, _ = feed.Write(p.Stdin)
		case *vzpb.ExecRequest_StdinEof:
			feed.Close()
		case *vzpb.ExecRequest_Resize_:
			size := [2]uint16{uint16(p.Resize.Rows), uint16(p.Resize.Cols)}
			select {
			case <-resize: // only the last size matters
			default:
			}
			select {
			case resize <- size:
			default:
			}
		case *vzpb.ExecRequest_Signal:
			select {
			case signals <- int(p.Signal):
			default:
			}
		}
	}
}

// execOut sends both outputs over the one stream.
type execOut struct {
	mu     sync.Mutex
	stream grpc.BidiStreamingServer[vzpb.ExecRequest, vzpb.ExecResponse]
}

type execWriter struct {
	out    *execOut
	stderr bool
}

func (o *execOut) writer(stderr bool) io.Writer { return execWriter{o, stderr} }

func (w execWriter) Write(p []byte) (int, error) {
	w.out.mu.Lock()
	defer w.out.mu.Unlock()
	for rest := p; len(rest) > 0; {
		n := min(len(rest), chunk)
		m := &vzpb.ExecResponse{Part: &vzpb.ExecResponse_Stdout{Stdout: rest[:n]}}
		if w.stderr {
			m = &vzpb.ExecResponse{Part: &vzpb.ExecResponse_Stderr{Stderr: rest[:n]}}
		}
		if err := w.out.stream.Send(m); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}
