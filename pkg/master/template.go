package master

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/zeebo/blake3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// maxTemplate is the largest template, bytes.
const maxTemplate = 1 << 40

// ImportTemplate implements the Cluster service. The content goes through this master to one node, which checks it and keeps it; the
// other nodes fetch it from there. The master hashes what passes and believes only a digest that both have found.
func (s *service) ImportTemplate(stream grpc.ClientStreamingServer[vzpb.ImportTemplateRequest, vzpb.TemplateResponse]) error {
	ctx := stream.Context()
	first, err := stream.Recv()
	if err != nil {
		return toStatus(err)
	}
	h := first.GetHeader()
	if h == nil {
		return invalid("template", "", "the first message is not the header", "send name and size first")
	}
	if err := errors.Join(cluster.ValidateOpKey(h.OpKey), cluster.ValidateTemplateName(h.Name)); err != nil {
		return toStatus(err)
	}
	if h.Size == 0 || h.Size > maxTemplate {
		return invalid("template", h.Name, fmt.Sprintf("a size of %d bytes", h.Size), "import a tar of 1 byte to 1 TiB")
	}
	node, err := s.templateNode(ctx)
	if err != nil {
		return err
	}
	digest, err := s.relayTemplate(ctx, node, h, stream)
	if err != nil {
		return err
	}
	hash := requestHash(h) + digest
	st, name, _, err := s.mutateHash(ctx, "ImportTemplate", h.OpKey, hash, func(tx *store.Tx, now time.Time) (string, error) {
		old, ok := tx.Templates().Get(h.Name)
		switch {
		case ok && old.Digest != digest:
			return "", status.Errorf(codes.AlreadyExists, "template %s exists with other content (%.12s, now %.12s); choose another name", h.Name, old.Digest, digest)
		case !ok:
			tx.Templates().Put(cluster.Template{Name: h.Name, Digest: digest, Size: h.Size, Created: now})
		}
		return h.Name, nil
	})
	if err != nil {
		return err
	}
	t, _ := st.Templates().Get(name)
	b, err := encode(t)
	if err != nil {
		return err
	}
	return stream.SendAndClose(&vzpb.TemplateResponse{Json: b})
}

// templateNode chooses the online node that was heard last: any will do, but it must answer.
func (s *service) templateNode(ctx context.Context) (cluster.Node, error) {
	st, seen, err := s.fresh(ctx)
	if err != nil {
		return cluster.Node{}, err
	}
	var online []cluster.Node
	for n := range st.Nodes().All() {
		if n.State == cluster.NodeOnline && seen.nodes[n.Name] != nil && n.Info.Address != "" {
			online = append(online, n)
		}
	}
	if len(online) == 0 {
		return cluster.Node{}, status.Error(codes.Unavailable, "no node is online that could keep the template; 'node list' shows the nodes")
	}
	return slices.MaxFunc(online, func(a, b cluster.Node) int { return seen.nodes[a.Name].At.Compare(seen.nodes[b.Name].At) }), nil
}

// relayTemplate sends the content on to a node and returns the digest that both sides found.
func (s *service) relayTemplate(ctx context.Context, n cluster.Node, h *vzpb.ImportTemplateRequest_Header, in grpc.ClientStreamingServer[vzpb.ImportTemplateRequest, vzpb.TemplateResponse]) (string, error) {
	conn, err := s.m.conns.get(n.Info.Address)
	if err != nil {
		return "", unreachable(n, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out, err := vzpb.NewNodeClient(conn).PutTemplate(ctx)
	if err != nil {
		return "", unreachable(n, err)
	}
	// A node that refuses has closed its side: what it says comes with CloseAndRecv, a failed Send says nothing.
	answer := func() error {
		if _, err := out.CloseAndRecv(); err != nil {
			return unreachable(n, err)
		}
		return status.Errorf(codes.Internal, "node %s stopped taking the template without a reason", n.Name)
	}
	if err := out.Send(&vzpb.ImportTemplateRequest{Part: &vzpb.ImportTemplateRequest_Header_{Header: h}}); err != nil {
		return "", answer()
	}
	sum, size := blake3.New(), uint64(0)
	for {
		part, err := in.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", toStatus(err)
		}
		data := part.GetData()
		if size += uint64(len(data)); size > h.Size {
			return "", invalid("template", h.Name, "more content than the size in its header", "import it again")
		}
		_, _ = sum.Write(data)
		if err := out.Send(part); err != nil {
			return "", answer()
		}
	}
	if size != h.Size {
		return "", invalid("template", h.Name, fmt.Sprintf("%d bytes instead of the %d in its header", size, h.Size), "import it again")
	}
	got, err := out.CloseAndRecv()
	if err != nil {
		return "", unreachable(n, err)
	}
	if digest := hex.EncodeToString(sum.Sum(nil)); got.Digest != digest || got.Size != size {
		return "", status.Errorf(codes.DataLoss, "node %s stored other content (%.12s) than was sent (%.12s); import it again", n.Name, got.Digest, digest)
	}
	return got.Digest, nil
}

// unreachable turns the failure of a call to a node into what the client gets: the node's own answer, or that there was none.
func unreachable(n cluster.Node, err error) error {
	st, ok := status.FromError(err)
	if !ok || st.Code() == codes.Unavailable {
		return status.Errorf(codes.Unavailable, "node %s (%s) can't be reached: %v", n.Name, n.Info.Address, st.Message())
	}
	return status.Errorf(st.Code(), "node %s: %s", n.Name, st.Message())
}
