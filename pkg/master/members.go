package master

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// Members is who takes part in the agreement, and how that is changed. The embedded back end implements it. A Master without one
// stands on a store that others keep (etcd): a master is then a member when its record is there.
type Members interface {
	Servers() []store.Server
	Progress() store.Progress
	AddNonvoter(ctx context.Context, id, raftAddr string) error
	AddVoter(ctx context.Context, id, raftAddr string) error
	RemoveServer(ctx context.Context, id string) error
	TransferLeadership(ctx context.Context, id string) error

	// Presence is what this master has shown, or is about to show, to the others; false: its data directory is not open yet.
	Presence() (cluster.Presence, bool)
	// Remember notes in the data directory which cluster it belongs to and where its masters are.
	Remember(clusterID string, peers []string) error
}

// surveyTimeout is how long a master may take to say how it stands.
const surveyTimeout = 2 * time.Second

// presence is what this master says of itself. Without a data directory there is nothing that could be an old one or a copy.
func (m *Master) presence() (cluster.Presence, bool) {
	if m.members == nil {
		return cluster.Presence{ID: m.cfg.ID, APIAddr: m.cfg.Advertise}, true
	}
	p, ok := m.members.Presence()
	p.ID, p.RaftAddr, p.APIAddr = m.cfg.ID, m.cfg.RaftAdvertise, m.cfg.Advertise
	return p, ok
}

// MasterState implements the Cluster service, on every master.
func (s *service) MasterState(context.Context, *vzpb.MasterStateRequest) (*vzpb.MasterStateResponse, error) {
	b, err := encode(s.m.state())
	return &vzpb.MasterStateResponse{Json: b}, err
}

// state is how this master sees itself.
func (m *Master) state() cluster.MasterState {
	p, _ := m.presence()
	st := m.store.View()
	out := cluster.MasterState{Presence: p, Version: cluster.Version, Format: store.Format, Applied: uint64(st.Rev())}
	if meta, _ := st.Meta(); meta.ClusterID != "" {
		out.ClusterID = meta.ClusterID
	}
	out.Leader, _ = m.store.Leader()
	out.Contact, out.Sums, out.Alarms = m.contact(), m.sums(), m.alarms()
	if m.members == nil {
		return out
	}
	progress := m.members.Progress()
	out.Term, out.Applied, out.LastIndex = progress.Term, progress.Applied, progress.LastIndex
	for _, s := range m.members.Servers() {
		out.Knows = append(out.Knows, s.ID)
	}
	return out
}

// survey asks the masters how they stand, all at once. One that does not answer has an Error.
func (m *Master) survey(ctx context.Context, masters []cluster.Master) []cluster.MasterInfo {
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	out := make([]cluster.MasterInfo, len(masters))
	var wg sync.WaitGroup
	for i, rec := range masters {
		wg.Go(func() {
			out[i].Master = rec
			st, err := m.stateOf(ctx, rec)
			if err != nil {
				out[i].Error = clipText(err.Error())
				return
			}
			out[i].State = &st
		})
	}
	wg.Wait()
	return out
}

// stateOf asks one master.
func (m *Master) stateOf(ctx context.Context, rec cluster.Master) (cluster.MasterState, error) {
	if rec.ID == m.cfg.ID {
		return m.state(), nil
	}
	var st cluster.MasterState
	conn, err := m.conns.get(rec.APIAddr)
	if err != nil {
		return st, err
	}
	r, err := vzpb.NewClusterClient(conn).MasterState(ctx, &vzpb.MasterStateRequest{})
	if err != nil {
		return st, err
	}
	if err := decodeRecord(r.Json, &st); err != nil {
		return st, err
	}
	if st.ID != rec.ID {
		return st, fmt.Errorf("at %s there is the master %q", rec.APIAddr, st.ID)
	}
	return st, nil
}

// roll puts the masters' records and the members of the agreement together, with what each says of itself.
func (m *Master) roll(ctx context.Context, st *store.State) []cluster.MasterInfo {
	var records []cluster.Master
	for rec := range st.Masters().All() {
		records = append(records, rec)
	}
	var servers []store.Server
	if m.members != nil {
		servers = m.members.Servers()
	}
	for _, s := range servers {
		if !slices.ContainsFunc(records, func(r cluster.Master) bool { return r.ID == s.ID }) {
			records = append(records, cluster.Master{ID: s.ID, RaftAddr: s.RaftAddr}) // being added or removed
		}
	}
	infos := m.survey(ctx, records)
	leader, _ := m.store.Leader()
	last := uint64(0)
	for _, info := range infos {
		if info.State != nil {
			last = max(last, info.State.LastIndex)
		}
	}
	for i := range infos {
		info := &infos[i]
		info.Leader = leader != "" && info.APIAddr == leader
		info.Voter = m.members == nil
		for _, s := range servers {
			if s.ID == info.ID {
				info.Voter = s.Voter
			}
		}
		if info.State != nil && last > info.State.LastIndex {
			info.Lag = last - info.State.LastIndex
		}
	}
	slices.SortFunc(infos, func(a, b cluster.MasterInfo) int { return strings.Compare(a.ID, b.ID) })
	return infos
}

// ListMasters implements the Cluster service.
func (s *service) ListMasters(ctx context.Context, _ *vzpb.ListMastersRequest) (*vzpb.ListMastersResponse, error) {
	st, _, err := s.fresh(ctx)
	if err != nil {
		return nil, err
	}
	return s.listMasters(ctx, st)
}

func (s *service) listMasters(ctx context.Context, st *store.State) (*vzpb.ListMastersResponse, error) {
	b, err := encode(s.m.roll(ctx, st))
	return &vzpb.ListMastersResponse{Json: b}, err
}
