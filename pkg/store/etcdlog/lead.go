package etcdlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/vzcluster/vzcluster/pkg/store/internal/term"
)

const (
	// againAfter is how long a member waits before it stands for leader again.
	againAfter = time.Second
	// callTimeout bounds the small calls of an election.
	callTimeout = 5 * time.Second
	// revokeTimeout bounds how long the end of a leadership is held up to spare the others the lease.
	revokeTimeout = 2 * time.Second
)

// reign is one leadership of this member. Its term is the create revision of its key, which etcd gives to no other.
type reign struct {
	key  string
	term uint64
	ctx  context.Context
	lost context.CancelFunc // the key is known to be gone: ends ctx
}

// compare is the condition that this leadership lasts.
func (r *reign) compare() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(r.key), "=", int64(r.term))
}

// confirmedBy tells whether the leader key, as it was read, is still this leadership's.
func (r *reign) confirmedBy(read *etcdserverpb.RangeResponse) bool {
	return len(read.GetKvs()) == 1 && uint64(read.Kvs[0].CreateRevision) == r.term
}

// Lead implements [store.Log]. Only one call at a time is possible.
func (l *Log) Lead(ctx context.Context, run func(ctx context.Context, term uint64) error) error {
	if !l.leadLock.TryLock() {
		return errors.New("etcd: Lead is already running")
	}
	defer l.leadLock.Unlock()
	standing, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	for {
		err := l.mayLead(standing)
		if err == nil {
			err = l.stand(standing, run)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case standing.Err() != nil:
			return errStopped
		}
		l.warn("not leading", err)
		sleep(standing, againAfter)
	}
}

// mayLead refuses when the prefix has no cluster that this member may lead.
func (l *Log) mayLead(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := l.client.Txn(ctx).Then(clientv3.OpGet(l.keys.hold), clientv3.OpGet(l.keys.head, clientv3.WithKeysOnly())).Commit()
	if err != nil {
		return fmt.Errorf("ask etcd: %w", err)
	}
	if hold := resp.Responses[0].GetResponseRange().GetKvs(); len(hold) > 0 {
		return fmt.Errorf("%s says: %s", l.keys.hold, hold[0].Value)
	}
	if headRev(resp.Responses[1].GetResponseRange()) == 0 && !l.conf.Bootstrap {
		return fmt.Errorf("there is no cluster in etcd below %s: check endpoints and prefix, or make a new cluster with one master that bootstraps", l.conf.Prefix)
	}
	return nil
}

// stand takes part in one election and, if it is won, leads. It returns when that is over, with the reason.
func (l *Log) stand(ctx context.Context, run func(context.Context, uint64) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	session, err := l.session(ctx)
	if err != nil {
		return err
	}
	// The lease carries the key, so this is the resignation as well.
	defer l.revoke(ctx, session.Lease())
	defer context.AfterFunc(session.Ctx(), cancel)()

	value, err := Candidate{ID: l.conf.ID, APIAddr: l.conf.APIAddr}.encode()
	if err != nil {
		return err
	}
	election := concurrency.NewElection(session, l.keys.election)
	if err := election.Campaign(ctx, value); err != nil {
		return fmt.Errorf("campaign: %w", err)
	}
	own := &reign{key: election.Key(), term: uint64(election.Rev()), ctx: ctx, lost: cancel}
	log := l.log.With("term", own.term)
	log.Info("leading")
	l.reign.Store(own)
	err = run(term.With(ctx, own.term), own.term)
	l.reign.Store(nil)
	if ctx.Err() != nil {
		log.Warn("leadership lost")
		return errLost
	}
	log.Warn("giving the leadership up", "err", err)
	return errGaveUp
}

// session makes a lease and keeps it alive until ctx ends.
func (l *Log) session(ctx context.Context) (*concurrency.Session, error) {
	granting, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	lease, err := l.client.Grant(granting, int64(l.conf.TTL/time.Second))
	if err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	// A client that ends with ctx: a campaign that is cancelled would else resign for as long as etcd does not answer.
	bound := clientv3.NewCtxClient(ctx)
	bound.KV, bound.Lease, bound.Watcher = l.client.KV, l.client.Lease, l.client.Watcher
	session, err := concurrency.NewSession(bound, concurrency.WithLease(lease.ID), concurrency.WithContext(ctx))
	if err != nil {
		l.revoke(ctx, lease.ID)
		return nil, fmt.Errorf("keep the lease: %w", err)
	}
	return session, nil
}

// revoke ends a lease now rather than after its time. If it can't, time will.
func (l *Log) revoke(ctx context.Context, id clientv3.LeaseID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	if _, err := l.client.Revoke(ctx, id); err != nil {
		l.log.Debug("the lease is left to expire", "err", err)
	}
}
