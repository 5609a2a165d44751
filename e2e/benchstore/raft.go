package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/rpc"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/pkg/store/raftlog"
)

// raftServer answers etcd's Txn and Status over a raft member, so that one client drives both back ends.
type raftServer struct {
	pb.UnimplementedKVServer
	pb.UnimplementedMaintenanceServer
	name string
	log  *raftlog.Log
}

// snapshotsFile gets a line with how long each snapshot took that was asked for with SIGUSR1.
func snapshotsFile(dir string) string { return dir + ".snapshots" }

// runRaft is one raft member with the store's mirror over it, as in a master.
func (o *memberOptions) runRaft(ctx context.Context) error {
	quiet := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	log, err := raftlog.New(raftlog.Config{ID: o.name, DataDir: o.dir, RaftAddr: o.addr(o.name), Bootstrap: o.name == o.peers[0].name, Logger: quiet})
	if err != nil {
		return err
	}
	lis, err := net.Listen("tcp", o.api)
	if err != nil {
		return err
	}
	mirror := store.New(log)
	srv := rpc.NewServer()
	s := &raftServer{name: o.name, log: log}
	pb.RegisterKVServer(srv, s)
	pb.RegisterMaintenanceServer(srv, s)
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return log.Run(ctx) })
	all.Go(func() error { return mirror.Run(ctx) })
	all.Go(func() error { return rpc.Serve(ctx, srv, lis) })
	all.Go(func() error { return log.Lead(ctx, o.lead(log)) })
	all.Go(func() error { return o.snapshots(ctx, log) })
	return all.Wait()
}

// lead has the other members in, and leads until that is over.
func (o *memberOptions) lead(log *raftlog.Log) func(context.Context, uint64) error {
	return func(ctx context.Context, _ uint64) error {
		for _, p := range o.peers {
			if slices.ContainsFunc(log.Servers(), func(s raftlog.Server) bool { return s.ID == p.name }) {
				continue
			}
			if err := log.AddVoter(ctx, p.name, p.addr); err != nil {
				return fmt.Errorf("add %s: %w", p.name, err)
			}
		}
		<-ctx.Done()
		return nil
	}
}

// snapshots takes one at each SIGUSR1.
func (o *memberOptions) snapshots(ctx context.Context, log *raftlog.Log) error {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	defer signal.Stop(asked)
	for {
		select {
		case <-asked:
		case <-ctx.Done():
			return nil
		}
		begin := time.Now()
		if err := log.Compact(ctx); err != nil {
			return err
		}
		line := time.Since(begin).String() + "\n"
		if err := os.WriteFile(filepath.Clean(snapshotsFile(o.dir)), []byte(line), 0o600); err != nil {
			return err
		}
	}
}

// Txn carries out compares of ModRevision and the puts and deletes of the success branch: what the benchmark sends.
func (s *raftServer) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	t := store.Txn{If: map[string]store.Rev{}, Put: map[string][]byte{}}
	for _, c := range r.Compare {
		t.If[string(c.Key)] = store.Rev(c.GetModRevision())
	}
	for _, op := range r.Success {
		switch o := op.Request.(type) {
		case *pb.RequestOp_RequestPut:
			t.Put[string(o.RequestPut.Key)] = o.RequestPut.Value
		case *pb.RequestOp_RequestDeleteRange:
			t.Del = append(t.Del, string(o.RequestDeleteRange.Key))
		}
	}
	rev, err := s.log.Commit(ctx, t)
	switch {
	case errors.Is(err, store.ErrConflict):
		return &pb.TxnResponse{Header: &pb.ResponseHeader{Revision: int64(rev)}}, nil
	case errors.Is(err, store.ErrNotLeader):
		return nil, status.Error(codes.Unavailable, err.Error())
	case err != nil:
		return nil, status.Error(codes.Unknown, err.Error())
	}
	return &pb.TxnResponse{Succeeded: true, Header: &pb.ResponseHeader{Revision: int64(rev)}}, nil
}

// Status tells who leads, once everybody is a member.
func (s *raftServer) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	out := &pb.StatusResponse{Header: &pb.ResponseHeader{}}
	servers := s.log.Servers()
	for i, m := range servers {
		if m.ID == s.name {
			out.Header.MemberId = uint64(i) + 1
		}
		if m.Leader && len(servers) == groupSize {
			out.Leader = uint64(i) + 1
		}
	}
	return out, nil
}
