package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/term"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// session is one command running in a container, seen from the operator's terminal.
type session struct {
	stub    vzpb.ClusterClient
	in      io.Reader
	out     io.Writer
	err     io.Writer
	cancel  context.CancelFunc
	caught  <-chan os.Signal
	noStdin bool

	stream grpc.BidiStreamingClient[vzpb.ExecRequest, vzpb.ExecResponse]
	send   sync.Mutex // a stream takes one sender at a time
}

// run runs the command to its end. Its exit code, if not 0, is returned as an exitError.
func (s *session) run(ctx context.Context, start *vzpb.ExecRequest_Start) error {
	tty, isFile := s.in.(*os.File)
	raw := start.Tty && isFile && term.IsTerminal(int(tty.Fd()))
	if start.Tty {
		if t := os.Getenv("TERM"); t != "" {
			start.Env = append([]string{"TERM=" + t}, start.Env...)
		}
	}
	if raw {
		start.Size = size(tty)
	}
	var err error
	if s.stream, err = s.stub.Exec(ctx); err != nil {
		return cli.FromStatus(err)
	}
	if err := s.put(&vzpb.ExecRequest{Part: &vzpb.ExecRequest_Start_{Start: start}}); err != nil && !errors.Is(err, io.EOF) {
		return cli.FromStatus(err) // after io.EOF the reason comes with Recv
	}
	if raw {
		old, err := term.MakeRaw(int(tty.Fd()))
		if err != nil {
			return fmt.Errorf("set the terminal: %w", err)
		}
		defer func() { _ = term.Restore(int(tty.Fd()), old) }() // nothing more can be done about it
	}
	stop := s.signals(raw, tty)
	defer stop()
	go s.stdin()
	return s.receive()
}

// put sends one message.
func (s *session) put(r *vzpb.ExecRequest) error {
	s.send.Lock()
	defer s.send.Unlock()
	return s.stream.Send(r)
}

// stdin passes standard input on until its end. It is left behind in a read when the command ends first: the process ends then, too.
func (s *session) stdin() {
	buf := make([]byte, 32<<10)
	for !s.noStdin {
		n, err := s.in.Read(buf)
		if n > 0 && s.put(&vzpb.ExecRequest{Part: &vzpb.ExecRequest_Stdin{Stdin: append([]byte(nil), buf[:n]...)}}) != nil {
			return
		}
		if err != nil {
			break
		}
	}
	_ = s.put(&vzpb.ExecRequest{Part: &vzpb.ExecRequest_StdinEof{StdinEof: true}}) // a broken stream is told by receive
}

// signals passes signals and changes of the window's size on. The returned function ends that.
func (s *session) signals(raw bool, tty *os.File) (stop func()) {
	done := make(chan struct{})
	go func() {
		for interrupts := 0; ; {
			select {
			case <-done:
				return
			case sig := <-s.caught:
				if sig == syscall.SIGINT {
					if interrupts++; interrupts == 3 {
						s.cancel() // the command doesn't listen
					}
				}
				s.signal(sig, raw, tty)
			}
		}
	}()
	return func() { close(done) }
}

// signal handles one. In raw mode the keys of a terminal are not signals, so one that arrives is meant for us.
func (s *session) signal(sig os.Signal, raw bool, tty *os.File) {
	n, _ := sig.(syscall.Signal)
	switch {
	case n == syscall.SIGWINCH && raw:
		if sz := size(tty); sz != nil {
			_ = s.put(&vzpb.ExecRequest{Part: &vzpb.ExecRequest_Resize_{Resize: sz}}) // told by receive
		}
	case n == syscall.SIGWINCH:
	case raw:
		s.cancel()
	default:
		_ = s.put(&vzpb.ExecRequest{Part: &vzpb.ExecRequest_Signal{Signal: int32(n)}}) // told by receive
	}
}

// receive writes what the command writes, until its exit code comes.
func (s *session) receive() error {
	heard := false
	for {
		r, err := s.stream.Recv()
		if err != nil {
			return lostSession(err, heard)
		}
		heard = true
		switch p := r.GetPart().(type) {
		case *vzpb.ExecResponse_Stdout:
			_, err = s.out.Write(p.Stdout)
		case *vzpb.ExecResponse_Stderr:
			_, err = s.err.Write(p.Stderr)
		case *vzpb.ExecResponse_ExitCode:
			if p.ExitCode != 0 {
				return exitError(p.ExitCode)
			}
			return nil
		}
		if err != nil {
			s.cancel()
			return fmt.Errorf("write output: %w", err)
		}
	}
}

// lostSession is the error of a stream that ended without an exit code.
func lostSession(err error, heard bool) error {
	if errors.Is(err, io.EOF) {
		return cli.Errorf(cli.UnknownOutcome, "the session ended without an exit code: the command may still run")
	}
	switch status.Code(err) {
	case codes.Canceled:
		return cli.Errorf(cli.UnknownOutcome, "the session was cut off: the command may still run")
	case codes.Unavailable, codes.DeadlineExceeded, codes.Unknown, codes.Aborted:
		if heard {
			return cli.Errorf(cli.UnknownOutcome, "the connection was lost (%s): the command may still run", status.Convert(err).Message())
		}
	}
	return cli.FromStatus(err)
}

// size returns the window's size, nil if it is not known.
func size(f *os.File) *vzpb.ExecRequest_Resize {
	cols, rows, err := term.GetSize(int(f.Fd()))
	if err != nil || cols <= 0 || rows <= 0 {
		return nil
	}
	return &vzpb.ExecRequest_Resize{Rows: uint32(rows), Cols: uint32(cols)}
}
