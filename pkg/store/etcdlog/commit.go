package etcdlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/pkg/store/internal/term"
)

const (
	commitTimeout = 30 * time.Second // from proposal to outcome, when the caller's context allows longer
	readTimeout   = 2 * time.Second  // of one attempt; the next one goes to another endpoint
	readAttempts  = 3
)

// Commit implements [store.Log]. It waits 30 s at most.
func (l *Log) Commit(ctx context.Context, t store.Txn) (store.Rev, error) {
	if err := t.Check(); err != nil {
		return 0, err
	}
	lead := l.reign.Load()
	if lead == nil {
		return 0, store.ErrNotLeader
	}
	if own, ok := term.Of(ctx); ok && own != lead.term {
		return 0, store.ErrNotLeader
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	resp, err := l.client.Txn(ctx).If(l.conditions(lead, t)...).Then(l.writes(t)...).Else(l.why(lead)...).Commit()
	if err != nil {
		return 0, fate(err)
	}
	if resp.Succeeded {
		return l.learn(store.Rev(resp.Header.Revision)), nil
	}
	if !lead.confirmedBy(resp.Responses[0].GetResponseRange()) {
		lead.lost()
		return 0, store.ErrNotLeader
	}
	return headRev(resp.Responses[1].GetResponseRange()), store.ErrConflict
}

// conditions are what must hold for t: that lead leads, and t's own.
func (l *Log) conditions(lead *reign, t store.Txn) []clientv3.Cmp {
	all := append(make([]clientv3.Cmp, 0, len(t.If)+1), lead.compare())
	for key, rev := range t.If {
		all = append(all, clientv3.Compare(clientv3.ModRevision(l.keys.data+key), "=", int64(rev)))
	}
	return all
}

// writes are what t does, and the head that tells of it.
func (l *Log) writes(t store.Txn) []clientv3.Op {
	ops := make([]clientv3.Op, 0, len(t.Put)+len(t.Del)+1)
	for key, value := range t.Put {
		ops = append(ops, clientv3.OpPut(l.keys.data+key, string(value)))
	}
	for _, key := range t.Del {
		ops = append(ops, clientv3.OpDelete(l.keys.data+key))
	}
	return append(ops, clientv3.OpPut(l.keys.head, l.conf.ID))
}

// why reads what tells a conflict from a lost leadership, and where the state stands.
func (l *Log) why(lead *reign) []clientv3.Op {
	return []clientv3.Op{
		clientv3.OpGet(lead.key, clientv3.WithKeysOnly()),
		clientv3.OpGet(l.keys.head, clientv3.WithKeysOnly()),
	}
}

// headRev is the revision of the last commit, 0 before the first.
func headRev(r *etcdserverpb.RangeResponse) store.Rev {
	if len(r.GetKvs()) == 0 {
		return 0
	}
	return store.Rev(r.Kvs[0].ModRevision)
}

// fate tells what an error of etcd means for the proposal that it answers.
func fate(err error) error {
	for _, refused := range []error{rpctypes.ErrRequestTooLarge, rpctypes.ErrTooManyOps} {
		if errors.Is(err, refused) {
			return fmt.Errorf("%w: etcd's own limits are lower than its defaults, or the key prefix is long: %w", store.ErrTooLarge, err)
		}
	}
	for refused, hint := range map[error]string{
		rpctypes.ErrNoSpace:          "etcd is full: compact and defragment it or raise its quota, then disarm its alarm",
		rpctypes.ErrPermissionDenied: "etcd does not let this master write: give its user the keys below the prefix",
		rpctypes.ErrUserEmpty:        "etcd wants a user: give a certificate whose common name is one",
		rpctypes.ErrTooManyRequests:  "etcd is overloaded",
		rpctypes.ErrCorrupt:          "etcd has found its own data damaged",
	} {
		if errors.Is(err, refused) {
			return fmt.Errorf("nothing was written: %s: %w", hint, err)
		}
	}
	return fmt.Errorf("%w: %w", store.ErrUnknown, err)
}

// ReadIndex implements [store.Log]: the leader key and the head, in one linearizable read.
func (l *Log) ReadIndex(ctx context.Context) (store.Rev, error) {
	lead := l.reign.Load()
	if lead == nil {
		return 0, store.ErrNotLeader
	}
	var err error
	for range readAttempts {
		var resp *clientv3.TxnResponse
		if resp, err = l.readOnce(ctx, lead); err == nil {
			if !resp.Succeeded {
				lead.lost()
				return 0, store.ErrNotLeader
			}
			return l.learn(headRev(resp.Responses[0].GetResponseRange())), nil
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if lead.ctx.Err() != nil {
			break
		}
	}
	// Nothing was changed, so it is never unknown.
	return 0, fmt.Errorf("%w: etcd does not confirm it: %w", store.ErrNotLeader, err)
}

func (l *Log) readOnce(ctx context.Context, lead *reign) (*clientv3.TxnResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return l.client.Txn(ctx).If(lead.compare()).Then(clientv3.OpGet(l.keys.head, clientv3.WithKeysOnly())).Commit()
}
