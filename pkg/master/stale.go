package master

import (
	"context"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/vzcluster/vzcluster/pkg/rpc"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// confirmTimeout is how long a leader that is asked for a stale answer tries to give a fresh one.
const confirmTimeout = 500 * time.Millisecond

// staleMethods are the questions that a master answers from what it has, if the caller wants that: without a leader, without quorum.
var staleMethods = map[string]bool{
	vzpb.Cluster_Status_FullMethodName:         true,
	vzpb.Cluster_ListNodes_FullMethodName:      true,
	vzpb.Cluster_ListTemplates_FullMethodName:  true,
	vzpb.Cluster_ListContainers_FullMethodName: true,
	vzpb.Cluster_ListMigrations_FullMethodName: true,
	vzpb.Cluster_GetOperation_FullMethodName:   true,
	vzpb.Cluster_ListMasters_FullMethodName:    true,
}

// ownMethods are about the master that is asked.
var ownMethods = map[string]bool{
	vzpb.Cluster_MasterState_FullMethodName: true,
	vzpb.Cluster_AdmitMaster_FullMethodName: true,
}

type staleContext struct{}

// wantsStale tells whether a call is one that is to be answered from what this master has.
func wantsStale(ctx context.Context, method string) bool {
	md, _ := metadata.FromIncomingContext(ctx)
	return staleMethods[method] && len(md.Get(rpc.StaleKey)) > 0
}

// contact is when this master last heard from the leader, or led for certain; zero: never.
func (m *Master) contact() time.Time {
	if m.term.Load() == nil {
		if m.members != nil {
			return m.members.Progress().Contact
		}
		if log, ok := m.log.(interface{ Contact() time.Time }); ok {
			return log.Contact()
		}
	}
	if ns := m.confirmed.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

// stale returns the snapshot that this master has, and tells the caller as of when it is.
func (s *service) stale(ctx context.Context) (*store.State, sight, error) {
	var seen sight
	asOf := s.m.contact()
	if t := s.m.term.Load(); t != nil {
		seen, _ = t.live.sight()
		// It may have been deposed without knowing it yet: then it can't say more than when it was last confirmed.
		short, cancel := context.WithTimeout(ctx, confirmTimeout)
		defer cancel()
		if now := time.Now(); s.confirm(short) == nil {
			asOf = now
		}
	}
	st := s.m.store.View()
	head := metadata.Pairs(rpc.RevKey, strconv.FormatUint(uint64(st.Rev()), 10), rpc.ServedByKey, s.m.cfg.ID)
	if !asOf.IsZero() {
		head.Set(rpc.AsOfKey, asOf.UTC().Format(time.RFC3339Nano))
	}
	return st, seen, grpc.SetHeader(ctx, head)
}

// confirm asks a quorum whether this master still leads, and waits until it has everything that was acknowledged.
func (s *service) confirm(ctx context.Context) error {
	now := time.Now()
	_, err := s.m.store.Fresh(ctx)
	if err == nil {
		s.m.confirmed.Store(now.UnixNano())
	}
	return err
}

// isCluster tells whether a method is of the Cluster service.
func isCluster(method string) bool {
	return strings.HasPrefix(method, "/"+vzpb.Cluster_ServiceDesc.ServiceName+"/")
}
