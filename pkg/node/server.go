package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/node/unpack"
	"github.com/vzcluster/vzcluster/proto/vzpb"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	chunk      = 256 << 10
	maxConsole = 1 << 20
)

// server is the Node service.
type server struct {
	vzpb.UnimplementedNodeServer
	a *Agent
}

// running finds the copy that a call is about.
func (s *server) running(ctid string) error {
	if err := cluster.ValidateCTID(ctid); err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	c, ok := s.a.liveCopy(ctid)
	if !ok {
		return status.Errorf(codes.NotFound, "container %s is not on node %s", ctid, s.a.cfg.Name)
	}
	if c.State != cluster.CopyRunning && c.State != cluster.CopyFrozen {
		return status.Errorf(codes.FailedPrecondition, "container %s does not run", ctid)
	}
	return nil
}

// ConsoleLog implements the Node service.
func (s *server) ConsoleLog(_ context.Context, r *vzpb.ConsoleLogRequest) (*vzpb.ConsoleLogResponse, error) {
	if err := cluster.ValidateCTID(r.Name); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	n := r.MaxBytes
	if n == 0 || n > maxConsole {
		n = maxConsole
	}
	data, err := s.a.cfg.Runtime.ConsoleTail(r.Name, int64(n))
	if errors.Is(err, os.ErrNotExist) {
		return &vzpb.ConsoleLogResponse{}, nil
	}
	if err != nil {
		return nil, status.Errorf(codes.Internal, "console of %s: %v", r.Name, err)
	}
	return &vzpb.ConsoleLogResponse{Data: data}, nil
}

// PutTemplate implements the Node service.
func (s *server) PutTemplate(stream grpc.ClientStreamingServer[vzpb.ImportTemplateRequest, vzpb.PutTemplateResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	header := first.GetHeader()
	if header == nil {
		return status.Error(codes.InvalidArgument, "the first message must be the header")
	}
	if header.Size == 0 || header.Size > MaxTemplate {
		return status.Errorf(codes.InvalidArgument, "template of %d bytes: it may have 1 to %d", header.Size, uint64(MaxTemplate))
	}
	in, err := s.a.newIncoming()
	if err != nil {
		return status.Errorf(codes.Internal, "template: %v", err)
	}
	defer in.discard()
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if in.size+uint64(len(m.GetData())) > header.Size {
			return status.Errorf(codes.InvalidArgument, "more than the %d bytes that were announced", header.Size)
		}
		if err := in.write(m.GetData()); err != nil {
			return status.Errorf(codes.Internal, "template: %v", err)
		}
	}
	if in.size != header.Size {
		return status.Errorf(codes.InvalidArgument, "%d bytes were announced, %d came", header.Size, in.size)
	}
	if err := s.tryTemplate(stream.Context(), in); err != nil {
		return status.Errorf(codes.InvalidArgument, "the template can't be unpacked: %v", err)
	}
	if err := in.keep(); err != nil {
		return status.Errorf(codes.Internal, "template: %v", err)
	}
	return stream.SendAndClose(&vzpb.PutTemplateResponse{Digest: in.digest(), Size: in.size})
}

// tryTemplate unpacks the template once, for nothing: what a create would refuse is refused now.
func (s *server) tryTemplate(ctx context.Context, in *incoming) error {
	dir, err := os.MkdirTemp(s.a.templateDir(), ".incoming-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return unpack.File(ctx, in.f.Name(), dir, unpack.Options{MaxBytes: MaxTemplate, IDRange: cluster.IDRange})
}

// GetTemplate implements the Node service.
func (s *server) GetTemplate(r *vzpb.GetTemplateRequest, stream grpc.ServerStreamingServer[vzpb.TemplateChunk]) error {
	if !digestRE.MatchString(r.Digest) {
		return status.Error(codes.InvalidArgument, "digest: not a blake3 digest in hex")
	}
	f, err := os.Open(s.a.templatePath(r.Digest))
	if errors.Is(err, os.ErrNotExist) {
		return status.Errorf(codes.NotFound, "template %s is not on node %s", r.Digest, s.a.cfg.Name)
	}
	if err != nil {
		return status.Errorf(codes.Internal, "template: %v", err)
	}
	defer f.Close()
	buf := make([]byte, chunk)
	for {
		n, err := io.ReadFull(f, buf)
		if n > 0 {
			if err := stream.Send(&vzpb.TemplateChunk{Data: buf[:n]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return status.Errorf(codes.Internal, "template: %v", err)
		}
	}
}

// Transfer implements the Node service: it hands the stream to the attempt that it names.
func (s *server) Transfer(stream grpc.BidiStreamingServer[vzpb.TransferFrame, vzpb.TransferReply]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	open := first.GetOpen()
	if open == nil {
		return status.Error(codes.InvalidArgument, "the first frame must be Open")
	}
	s.a.mu.Lock()
	m := s.a.migrations[open.Migration]
	var ok bool
	if m != nil && m.target != nil {
		ok = true
	}
	s.a.mu.Unlock()
	if !ok {
		return status.Error(codes.NotFound, fmt.Sprintf("node %s expects no migration %q", s.a.cfg.Name, open.Migration))
	}
	return m.target.Serve(stream, open)
}
