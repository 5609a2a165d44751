package etcdlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"github.com/vzcluster/vzcluster/pkg/store"
)

const (
	// pageKeys is how many keys are listed at a time.
	pageKeys = 1000
	// A watch is stalled if it has not brought what this member knows to be committed at so many looks in a row.
	stallLook  = 500 * time.Millisecond
	stallLooks = 4
)

// errStalled: the member of etcd behind a watch hangs, though its connection does not break.
var errStalled = errors.New("it does not bring what was committed")

// historyError says that etcd no longer holds what was seen in it: it was restored from a backup, or is another one. Going on would
// show a past as the present, so this process must end.
type historyError struct{ why string }

func (e *historyError) Error() string {
	return "etcd: " + e.why + ": was it restored from a backup, or is it another etcd? Make sure that it is the right one, then start the masters again"
}

// Follow implements [store.Log]. It fails when etcd's history is not the one that it has followed so far.
func (l *Log) Follow(ctx context.Context, apply func(store.Batch)) error {
	return l.tail(ctx, l.keys.head, l.keys.data, apply)
}

// tail follows all keys from from to the end of prefix, and applies those below prefix, which is taken off. Every revision that
// writes something in that range makes a batch.
func (l *Log) tail(ctx context.Context, from, prefix string, apply func(store.Batch)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	t := tail{log: l, from: from, prefix: prefix, end: clientv3.GetPrefixRangeEnd(prefix), apply: apply}
	for {
		err := t.catchUp(ctx)
		var history *historyError
		switch {
		case ctx.Err() != nil:
			if l.ctx.Err() != nil {
				return errStopped
			}
			return nil
		case errors.As(err, &history):
			return err
		case errors.Is(err, rpctypes.ErrCompacted):
			t.listed = false
		case errors.Is(err, errStalled):
			l.warn("watches through another member of etcd", err) // which the balancer chooses
		default:
			l.warn("does not hear from etcd", err)
			sleep(ctx, againAfter)
		}
	}
}

// tail is one follower.
type tail struct {
	log               *Log
	from, prefix, end string
	apply             func(store.Batch)
	listed            bool
	seen              int64 // revision of etcd up to which everything was applied
}

// catchUp lists if need be and then watches until that fails.
func (t *tail) catchUp(ctx context.Context) error {
	if !t.listed {
		if err := t.list(ctx); err != nil {
			return fmt.Errorf("list: %w", err)
		}
	}
	if err := t.watch(ctx); err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	return nil
}

// list applies an image, read in pages at one revision.
func (t *tail) list(ctx context.Context) error {
	image := make(map[string]store.KV)
	from, at := t.prefix, int64(0)
	for {
		resp, err := t.page(ctx, from, at)
		if err != nil {
			return err
		}
		if at == 0 {
			at = resp.Header.Revision
			if err := t.check(resp.Header); err != nil {
				return err
			}
		}
		for _, kv := range resp.Kvs {
			image[strings.TrimPrefix(string(kv.Key), t.prefix)] = store.KV{Value: kv.Value, Rev: store.Rev(kv.ModRevision)}
			from = string(kv.Key) + "\x00"
		}
		if !resp.More {
			break
		}
	}
	t.apply(store.Batch{Rev: store.Rev(at), Reset: true, Put: image})
	t.listed = true
	t.note(at)
	return nil
}

func (t *tail) page(ctx context.Context, from string, at int64) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return t.log.client.Get(ctx, from, clientv3.WithRange(t.end), clientv3.WithLimit(pageKeys), clientv3.WithRev(at))
}

// check refuses a history other than the one that was followed so far.
func (t *tail) check(h *etcdserverpb.ResponseHeader) error {
	if !t.log.sameCluster(h.ClusterId) {
		return &historyError{fmt.Sprintf("cluster %x answers, it was %x", h.ClusterId, t.log.cluster.Load())}
	}
	if h.Revision < t.seen {
		return &historyError{fmt.Sprintf("it is at revision %d, after %d was seen", h.Revision, t.seen)}
	}
	return nil
}

// watch applies one batch for each revision after seen.
func (t *tail) watch(ctx context.Context) error {
	// When it returns the watch ends. A member of etcd without a leader tells so, rather than being silent. The client puts watches
	// with equal metadata on one stream, and this one must be able to leave a stream that hangs.
	number := strconv.FormatUint(t.log.watches.Add(1), 10)
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(clientv3.WithRequireLeader(ctx), "vz-watch", number))
	defer cancel()
	events := t.log.client.Watch(ctx, t.from, clientv3.WithRange(t.end), clientv3.WithRev(t.seen+1))
	look := time.NewTicker(stallLook)
	defer look.Stop()
	behind := 0
	for {
		select {
		case resp, ok := <-events:
			if !ok {
				return errors.New("it ended")
			}
			if err := resp.Err(); err != nil {
				return err
			}
			if err := t.check(resp.Header); err != nil {
				return err
			}
			t.deliver(resp.Events)
			behind = 0
		case <-look.C:
			if behind++; !t.lags() {
				behind = 0
			}
			if behind == stallLooks {
				return errStalled
			}
		}
	}
}

// note remembers that everything up to rev was applied.
func (t *tail) note(rev int64) {
	t.seen = rev
	if t.prefix == t.log.keys.data {
		t.log.followed.Store(rev)
	}
}

// lags tells whether this member has itself heard of commits that the watch has not brought.
func (t *tail) lags() bool {
	return t.prefix == t.log.keys.data && t.seen < t.log.known.Load()
}

// deliver applies events, which are in the order of their revisions. One revision is never spread over two responses.
func (t *tail) deliver(events []*clientv3.Event) {
	for len(events) > 0 {
		rev := events[0].Kv.ModRevision
		b := store.Batch{Rev: store.Rev(rev), Put: make(map[string]store.KV)}
		for len(events) > 0 && events[0].Kv.ModRevision == rev {
			e := events[0]
			switch key, ok := strings.CutPrefix(string(e.Kv.Key), t.prefix); {
			case !ok: // the head
			case e.Type == clientv3.EventTypeDelete:
				b.Del = append(b.Del, key)
			default:
				b.Put[key] = store.KV{Value: e.Kv.Value, Rev: store.Rev(rev)}
			}
			events = events[1:]
		}
		t.apply(b)
		t.note(rev)
	}
}
