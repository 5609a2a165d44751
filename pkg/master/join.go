package master

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// MaxMasters is how many masters a cluster may have: more make each write slower and nothing safer.
const MaxMasters = 5

const (
	joinPause   = 500 * time.Millisecond
	joinTimeout = 20 * time.Second
	// lonelyAfter is how long a member that hears of no leader waits before it asks the others whether it is still one.
	lonelyAfter = 10 * time.Second
)

// self is this master's record; false: its data directory is not open yet.
func (m *Master) self() (cluster.Master, bool) {
	p, ok := m.presence()
	return cluster.Master{ID: m.cfg.ID, RaftAddr: m.cfg.RaftAdvertise, APIAddr: m.cfg.Advertise, Instance: p.Instance, Starts: p.Starts, Nonce: p.Nonce}, ok
}

// enroll writes this master's own record while it leads: how the first one becomes known, and how a changed address does.
func (m *Master) enroll(ctx context.Context) error {
	p, _ := m.presence()
	self, _ := m.self()
	_, err := m.store.Update(ctx, func(tx *store.Tx) error {
		if why := refusal(p, tables{tx.Meta(), tx.Masters(), tx.State().Counters()}, 0); why != "" {
			return &RefusedError{fmt.Sprintf("master %s may not lead: %s", m.cfg.ID, why)}
		}
		tx.Masters().Put(self)
		return nil
	})
	var refused *RefusedError
	if errors.As(err, &refused) {
		select {
		case m.expelled <- refused:
		default:
		}
	}
	return err
}

// join asks the other masters to take this one in, until the records show that they have; a restarted member has its new start noted
// that way. So the same command line serves the first start and every later one. Then it sees to it that it stays the one that was
// taken in: it fails with a *RefusedError when this master was removed, or when another process came with its data.
func (m *Master) join(ctx context.Context) error {
	for try := 0; ; try++ {
		self, ok := m.self()
		if have, there := m.store.View().Masters().Get(m.cfg.ID); ok && there && have == self {
			slog.Info("member of the masters", "master", m.cfg.ID, "start", self.Starts)
			return m.stay(ctx, self)
		}
		if addrs := m.others(); ok && len(addrs) > 0 {
			addr := addrs[try%len(addrs)]
			if err := m.askToJoin(ctx, addr); err != nil {
				if fatal := refused(err); fatal != nil {
					return fatal
				}
				slog.Info("not joined yet", "asked", addr, "err", err)
			}
		}
		select {
		case <-time.After(joinPause):
		case err := <-m.expelled:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// others are the APIs of the other masters: of the configuration, those in the records, and the leader, whom a store that others keep
// names from the start.
func (m *Master) others() []string {
	addrs := slices.Clone(m.cfg.Join)
	if leader, ok := m.store.Leader(); ok {
		addrs = append(addrs, leader)
	}
	for rec := range m.store.View().Masters().All() {
		addrs = append(addrs, rec.APIAddr)
	}
	slices.Sort(addrs)
	return slices.DeleteFunc(slices.Compact(addrs), func(a string) bool { return a == m.cfg.Advertise || a == "" })
}

func (m *Master) askToJoin(ctx context.Context, addr string) error {
	conn, err := m.conns.get(addr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	p, _ := m.presence()
	b, err := encode(p)
	if err != nil {
		return err
	}
	_, err = vzpb.NewClusterClient(conn).AddMaster(ctx, &vzpb.AddMasterRequest{Id: m.cfg.ID, RaftAddr: m.cfg.RaftAdvertise, ApiAddr: m.cfg.Advertise, PresenceJson: b})
	return err
}

// stay watches this member's own record until ctx ends.
func (m *Master) stay(ctx context.Context, self cluster.Master) error {
	lonely := time.NewTicker(lonelyAfter)
	defer lonely.Stop()
	changes := make(chan *store.State)
	go func() {
		for after := store.Rev(0); ; {
			st, err := m.store.Wait(ctx, after)
			if err != nil {
				return
			}
			after = st.Rev()
			select {
			case changes <- st:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case st := <-changes:
			if err := m.stillMember(st, self); err != nil {
				return err
			}
		case <-lonely.C:
			if _, led := m.store.Leader(); led || m.members == nil {
				continue
			}
			p, _ := m.presence()
			if _, err := m.Admit(ctx, p, m.others()); err != nil && ctx.Err() == nil {
				return err
			}
		case err := <-m.expelled:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// stillMember tells why this process may not go on as the member self, by the newest records; and notes what it needs to ask the
// others at its next start.
func (m *Master) stillMember(st *store.State, self cluster.Master) error {
	rec, ok := st.Masters().Get(self.ID)
	switch {
	case !ok:
		return &RefusedError{fmt.Sprintf("master %s was removed from the cluster; its data directory is of no use any more", self.ID)}
	case rec.Instance == self.Instance && rec.Starts >= self.Starts && rec.Nonce != self.Nonce:
		return &RefusedError{fmt.Sprintf("another process has come with the data directory of master %s (or a copy of it), at %s; only one of them may go on", self.ID, rec.APIAddr)}
	}
	if m.members == nil {
		return nil
	}
	meta, _ := st.Meta()
	return m.members.Remember(meta.ClusterID, m.others())
}

// AddMaster implements the Cluster service. It is idempotent: a master asks until it is a member.
func (s *service) AddMaster(ctx context.Context, r *vzpb.AddMasterRequest) (*vzpb.AddMasterResponse, error) {
	if err := cluster.ValidateNodeName(r.Id); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "master id: %v", err)
	}
	var p cluster.Presence
	if len(r.PresenceJson) > 0 {
		if err := decodeRecord(r.PresenceJson, &p); err != nil {
			return nil, invalid("presence", "", err.Error(), "send cluster.Presence as JSON")
		}
	}
	addrs := map[string]string{"API address": r.ApiAddr}
	if s.m.members != nil {
		addrs["raft address"] = r.RaftAddr
	}
	for what, a := range addrs {
		if err := checkAddr(a); err != nil {
			return nil, invalid(what, a, err.Error(), "give HOST:PORT as the other masters reach it")
		}
	}
	st, _, err := s.fresh(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.mayJoin(ctx, st, r, p); err != nil {
		return nil, err
	}
	// The record comes last: it is what ends the asking.
	if s.m.members != nil {
		if err := s.m.members.AddNonvoter(ctx, r.Id, r.RaftAddr); err != nil {
			return nil, toStatus(fmt.Errorf("add master %s: %w", r.Id, err))
		}
	}
	if _, err := s.m.store.Update(ctx, func(tx *store.Tx) error {
		if err := admissible(p, tables{tx.Meta(), tx.Masters(), tx.State().Counters()}, s.m.peaks.of(p.Instance, p.Starts)); err != nil {
			return err
		}
		rec, _ := tx.Masters().Get(r.Id)
		rec.ID, rec.RaftAddr, rec.APIAddr = r.Id, r.RaftAddr, r.ApiAddr
		if p.Nonce != "" {
			rec.Instance, rec.Starts, rec.Nonce = p.Instance, p.Starts, p.Nonce
		}
		tx.Masters().Put(rec)
		return nil
	}); err != nil {
		return nil, toStatus(err)
	}
	slog.Info("master is a member", "master", r.Id, "raft", r.RaftAddr, "api", r.ApiAddr, "start", p.Starts)
	return &vzpb.AddMasterResponse{}, nil
}

// mayJoin tells why a master may not be taken in, before anything is changed for it.
func (s *service) mayJoin(ctx context.Context, st *store.State, r *vzpb.AddMasterRequest, p cluster.Presence) error {
	if p.ID != "" && p.ID != r.Id {
		return invalid("master", r.Id, "the presence is of "+p.ID, "a master speaks for itself only")
	}
	members := 0
	for m := range st.Masters().All() {
		if m.ID != r.Id {
			members++
		}
	}
	if members >= MaxMasters {
		return refuse("the cluster has %d masters already; more make it slower and nothing safer", members)
	}
	if p.Instance == "" {
		if rec, ok := st.Masters().Get(r.Id); ok && rec.Instance != "" && (rec.RaftAddr != r.RaftAddr || rec.APIAddr != r.ApiAddr) {
			return status.Errorf(codes.AlreadyExists, "master %s is a member already, at %s; a master that moved says so itself when it starts", r.Id, rec.APIAddr)
		}
		return nil
	}
	known := snapshotTables(st)
	if err := admissible(p, known, s.m.peaks.of(p.Instance, p.Starts)); err != nil {
		return err
	}
	if why := s.m.twin(ctx, p, known); why != "" {
		return status.Errorf(codes.PermissionDenied, "master %s may not take part: %s", r.Id, why)
	}
	return nil
}

// admissible is refusal as an answer to the master itself.
func admissible(p cluster.Presence, known tables, peak uint64) error {
	if why := refusal(p, known, peak); why != "" {
		return status.Errorf(codes.PermissionDenied, "master %s may not take part: %s", p.ID, why)
	}
	return nil
}
