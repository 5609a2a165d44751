package master

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// maxConsole is how much of a console log one call returns at the most, bytes.
const maxConsole = 1 << 20

// Exec implements the Cluster service: it relays the stream to the container's node.
func (s *service) Exec(stream grpc.BidiStreamingServer[vzpb.ExecRequest, vzpb.ExecResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return toStatus(err)
	}
	start := first.GetStart()
	if start == nil || len(start.Argv) == 0 {
		return invalid("command", "", "none given", "name a program: exec CTID -- PROGRAM ARGS")
	}
	c, n, err := s.onNode(stream.Context(), start.Name)
	if err != nil {
		return err
	}
	if c.State != cluster.ContainerRunning {
		return refuse("container %s: it is %s; start it first", label(c), c.State)
	}
	conn, err := s.m.conns.ready(stream.Context(), n.Info.Address)
	if err != nil {
		return unreachable(n, err)
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	out, err := vzpb.NewNodeClient(conn).Exec(ctx)
	if err != nil {
		return unreachable(n, err)
	}
	start.Name = c.CTID
	if err := out.Send(first); err == nil {
		go pump(out, stream, &vzpb.ExecRequest{}, cancel, func(proto.Message) {})
	}
	for {
		msg, err := out.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return unreachable(n, err)
		}
		if err := stream.Send(msg); err != nil {
			return err
		}
	}
}

// ConsoleLog implements the Cluster service.
func (s *service) ConsoleLog(ctx context.Context, r *vzpb.ConsoleLogRequest) (*vzpb.ConsoleLogResponse, error) {
	c, n, err := s.onNode(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	conn, err := s.m.conns.ready(ctx, n.Info.Address)
	if err != nil {
		return nil, unreachable(n, err)
	}
	limit := r.MaxBytes
	if limit == 0 || limit > maxConsole {
		limit = maxConsole
	}
	out, err := vzpb.NewNodeClient(conn).ConsoleLog(ctx, &vzpb.ConsoleLogRequest{Name: c.CTID, MaxBytes: limit})
	if err != nil {
		return nil, unreachable(n, err)
	}
	return out, nil
}

// onNode finds a container and the node that it is on.
func (s *service) onNode(ctx context.Context, name string) (cluster.Container, cluster.Node, error) {
	st, _, err := s.fresh(ctx)
	if err != nil {
		return cluster.Container{}, cluster.Node{}, err
	}
	c, ok := st.FindContainer(name)
	if !ok {
		return c, cluster.Node{}, unknownContainer(name)
	}
	n, ok := st.Nodes().Get(c.Node)
	if !ok || n.Info.Address == "" {
		return c, n, unknownNode(c.Node)
	}
	return c, n, nil
}
