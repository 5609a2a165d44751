package master

import (
	"context"
	"encoding/json"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/scheduler"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// service is the Cluster service of the leader; on a follower no call gets here (see forward.go).
type service struct {
	vzpb.UnimplementedClusterServer
	m *Master
}

// fresh returns a snapshot for a linearizable read, and what was reported; or what this master has, if the caller wants no more.
func (s *service) fresh(ctx context.Context) (*store.State, sight, error) {
	if ctx.Value(staleContext{}) != nil {
		return s.stale(ctx)
	}
	t := s.m.term.Load()
	if t == nil {
		return nil, sight{}, noLeader("it was lost just now")
	}
	now := time.Now()
	st, err := s.m.store.Fresh(ctx)
	if err != nil {
		return nil, sight{}, toStatus(err)
	}
	s.m.confirmed.Store(now.UnixNano())
	seen, _ := t.live.sight()
	return st, seen, nil
}

// encode makes JSON of a record; that it can't be done would be a bug.
func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "encode: %v", err)
	}
	return b, nil
}

// Status implements the Cluster service.
func (s *service) Status(ctx context.Context, _ *vzpb.StatusRequest) (*vzpb.StatusResponse, error) {
	st, _, err := s.fresh(ctx)
	if err != nil {
		return nil, err
	}
	out := cluster.Status{
		Rev: uint64(st.Rev()), Version: cluster.Version, Templates: st.Templates().Len(),
		Alarms:     s.m.alarms(),
		Format:     inForce(st),
		Nodes:      map[string]int{},
		Containers: map[string]int{},
	}
	if t := s.m.term.Load(); t != nil {
		out.Term, out.LedSince = t.number, t.since
	}
	out.LeaderAddr, _ = s.m.store.Leader()
	for m := range st.Masters().All() {
		out.Masters = append(out.Masters, m)
		if m.APIAddr == out.LeaderAddr {
			out.Leader = m.ID
		}
	}
	for n := range st.Nodes().All() {
		out.Nodes[string(n.State)]++
		if n.Cordoned {
			out.Nodes["cordoned"]++
		}
	}
	for c := range st.Containers().All() {
		out.Containers[string(c.State)]++
	}
	for m := range st.Migrations().All() {
		if !m.Closed {
			out.Migrations++
		}
	}
	b, err := encode(out)
	return &vzpb.StatusResponse{Json: b}, err
}

// ListNodes implements the Cluster service.
func (s *service) ListNodes(ctx context.Context, r *vzpb.ListNodesRequest) (*vzpb.ListNodesResponse, error) {
	st, seen, err := s.fresh(ctx)
	if err != nil {
		return nil, err
	}
	out := &vzpb.ListNodesResponse{}
	for n := range st.Nodes().All() {
		if r.Name != "" && n.Name != r.Name {
			continue
		}
		one, err := s.nodeResponse(n, seen)
		if err != nil {
			return nil, err
		}
		out.Nodes = append(out.Nodes, one)
	}
	if r.Name != "" && len(out.Nodes) == 0 {
		return nil, unknownNode(r.Name)
	}
	return out, nil
}

func unknownNode(name string) error {
	return notFound("node %q: unknown; 'node list' shows the nodes", name)
}

func (s *service) nodeResponse(n cluster.Node, seen sight) (*vzpb.NodeResponse, error) {
	b, err := encode(n)
	if err != nil {
		return nil, err
	}
	out := &vzpb.NodeResponse{Json: b}
	if l := seen.liveOf(n.Name, time.Now(), s.m.cfg.Leases.Lease); l != nil {
		if out.LiveJson, err = encode(l); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// CordonNode implements the Cluster service.
func (s *service) CordonNode(ctx context.Context, r *vzpb.CordonNodeRequest) (*vzpb.NodeResponse, error) {
	if len(r.Reason) > 1024 {
		return nil, invalid("reason", r.Reason, "longer than 1024 bytes", "shorten it")
	}
	st, name, _, err := s.mutate(ctx, "CordonNode", r, func(tx *store.Tx, now time.Time) (string, error) {
		n, ok := tx.Nodes().Get(r.Name)
		if !ok {
			return "", unknownNode(r.Name)
		}
		if n.Cordoned != r.Cordon || (r.Cordon && n.CordonReason != clipText(r.Reason)) {
			n.Cordoned, n.CordonReason, n.Changed = r.Cordon, "", now
			if r.Cordon {
				n.CordonReason = clipText(r.Reason)
			}
			tx.Nodes().Put(n)
		}
		return n.Name, nil
	})
	if err != nil {
		return nil, err
	}
	n, ok := st.Nodes().Get(name)
	if !ok {
		return nil, unknownNode(name)
	}
	var seen sight
	if t := s.m.term.Load(); t != nil {
		seen, _ = t.live.sight()
	}
	return s.nodeResponse(n, seen)
}

// ListContainers implements the Cluster service.
func (s *service) ListContainers(ctx context.Context, r *vzpb.ListContainersRequest) (*vzpb.ListContainersResponse, error) {
	st, seen, err := s.fresh(ctx)
	if err != nil {
		return nil, err
	}
	out := &vzpb.ListContainersResponse{}
	add := func(c cluster.Container) error {
		one, err := containerResponse(c, seen)
		if err != nil {
			return err
		}
		if n, ok := st.Nodes().Get(c.Node); ok {
			one.NodeState = string(n.State)
		}
		out.Containers = append(out.Containers, one)
		return nil
	}
	if r.Name != "" {
		c, ok := st.FindContainer(r.Name)
		if !ok {
			return nil, unknownContainer(r.Name)
		}
		return out, add(c)
	}
	if _, ok := st.Nodes().Get(r.Node); r.Node != "" && !ok {
		return nil, unknownNode(r.Node)
	}
	for c := range st.Containers().All() {
		if r.Node != "" && c.Node != r.Node {
			continue
		}
		if err := add(c); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func unknownContainer(name string) error {
	return notFound("container %q: unknown; 'list -a' shows the containers", name)
}

func containerResponse(c cluster.Container, seen sight) (*vzpb.ContainerResponse, error) {
	b, err := encode(c)
	if err != nil {
		return nil, err
	}
	out := &vzpb.ContainerResponse{Json: b}
	if u := seen.usageOf(c); u != nil {
		if out.UsageJson, err = encode(u); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ListTemplates implements the Cluster service.
func (s *service) ListTemplates(ctx context.Context, _ *vzpb.ListTemplatesRequest) (*vzpb.ListTemplatesResponse, error) {
	st, _, err := s.fresh(ctx)
	if err != nil {
		return nil, err
	}
	out := &vzpb.ListTemplatesResponse{}
	for t := range st.Templates().All() {
		b, err := encode(t)
		if err != nil {
			return nil, err
		}
		out.Templates = append(out.Templates, &vzpb.TemplateResponse{Json: b})
	}
	return out, nil
}

// GetOperation implements the Cluster service.
func (s *service) GetOperation(ctx context.Context, r *vzpb.GetOperationRequest) (*vzpb.GetOperationResponse, error) {
	if err := cluster.ValidateOpKey(r.OpKey); err != nil {
		return nil, toStatus(err)
	}
	st, _, err := s.fresh(ctx)
	if err != nil {
		return nil, err
	}
	op, ok := st.Operations().Get(r.OpKey)
	if !ok {
		return nil, notFound("operation %q: no change with this key was stored in the last %v", r.OpKey, keepOperations)
	}
	b, err := encode(op)
	return &vzpb.GetOperationResponse{Json: b}, err
}

// txSnapshot is what the scheduler sees, read inside the transaction: the decision is re-checked where it is committed.
func (s *service) txSnapshot(tx *store.Tx, without string) scheduler.Snapshot {
	var nodes []cluster.Node
	for n := range tx.Nodes().All() {
		nodes = append(nodes, n)
	}
	var cts []cluster.Container
	for c := range tx.Containers().All() {
		if c.CTID != without {
			cts = append(cts, c)
		}
	}
	var migs []cluster.Migration
	for m := range tx.Migrations().All() {
		if !m.Closed {
			migs = append(migs, m)
		}
	}
	return scheduler.NewSnapshot(nodes, cts, migs, s.m.cfg.CPUOvercommit)
}
