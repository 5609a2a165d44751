package master

import (
	"context"
	"fmt"
	"log/slog"
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
	joinPause   = time.Second
	joinTimeout = 20 * time.Second
)

// self is this master's record.
func (m *Master) self() cluster.Master {
	return cluster.Master{ID: m.cfg.ID, RaftAddr: m.cfg.RaftAdvertise, APIAddr: m.cfg.Advertise}
}

// enroll writes this master's own record while it leads: how the first one becomes known, and how a changed address does.
func (m *Master) enroll(ctx context.Context) error {
	_, err := m.store.Update(ctx, func(tx *store.Tx) error {
		tx.Masters().Put(m.self())
		return nil
	})
	return err
}

// join asks the masters named in the configuration to add this one, until the records show that they have. A master that was added
// before finds itself in its own copy of the records, so the same command line serves the first start and every later one. On a store
// that others keep, everybody knows the leader from the start, and asks it.
func (m *Master) join(ctx context.Context) error {
	if len(m.cfg.Join) == 0 && m.members != nil {
		return nil
	}
	for try := 0; ; try++ {
		if have, ok := m.store.View().Masters().Get(m.cfg.ID); ok && have == m.self() {
			slog.Info("member of the masters", "master", m.cfg.ID)
			return nil
		}
		if addr := m.sponsor(try); addr != "" && addr != m.cfg.Advertise {
			if err := m.askToJoin(ctx, addr); err != nil {
				slog.Info("not joined yet", "asked", addr, "err", err)
			}
		}
		select {
		case <-time.After(joinPause):
		case <-ctx.Done():
			return nil
		}
	}
}

// sponsor is the API to ask at a try; empty: nobody is known yet.
func (m *Master) sponsor(try int) string {
	if len(m.cfg.Join) > 0 {
		return m.cfg.Join[try%len(m.cfg.Join)]
	}
	addr, _ := m.store.Leader()
	return addr
}

func (m *Master) askToJoin(ctx context.Context, addr string) error {
	conn, err := m.conns.get(addr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	self := m.self()
	_, err = vzpb.NewClusterClient(conn).AddMaster(ctx, &vzpb.AddMasterRequest{Id: self.ID, RaftAddr: self.RaftAddr, ApiAddr: self.APIAddr})
	return err
}

// AddMaster implements the Cluster service. It is idempotent: a master asks until it is a member.
func (s *service) AddMaster(ctx context.Context, r *vzpb.AddMasterRequest) (*vzpb.AddMasterResponse, error) {
	if err := cluster.ValidateNodeName(r.Id); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "master id: %v", err)
	}
	for what, a := range map[string]string{"raft address": r.RaftAddr, "API address": r.ApiAddr} {
		if what == "raft address" && a == "" && s.m.members == nil {
			continue
		}
		if err := checkAddr(a); err != nil {
			return nil, invalid(what, a, err.Error(), "give HOST:PORT as the other masters reach it")
		}
	}
	members := 0
	for m := range s.m.store.View().Masters().All() {
		if m.ID != r.Id {
			members++
		}
	}
	if members >= MaxMasters {
		return nil, refuse("the cluster has %d masters already; more make it slower and nothing safer", members)
	}
	rec := cluster.Master{ID: r.Id, RaftAddr: r.RaftAddr, APIAddr: r.ApiAddr}
	// The record comes last: it is what ends the asking. Should the new voter lead before it is written, it writes it itself.
	if s.m.members != nil {
		if err := s.m.members.AddVoter(ctx, r.Id, r.RaftAddr); err != nil {
			return nil, toStatus(fmt.Errorf("add master %s: %w", r.Id, err))
		}
	}
	if _, err := s.m.store.Update(ctx, func(tx *store.Tx) error {
		tx.Masters().Put(rec)
		return nil
	}); err != nil {
		return nil, toStatus(err)
	}
	slog.Info("master added", "master", r.Id, "raft", r.RaftAddr, "api", r.ApiAddr)
	return &vzpb.AddMasterResponse{}, nil
}
