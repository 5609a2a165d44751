package etcdlog

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vzcluster/vzcluster/pkg/store"
)

// contactEvery is how often a member asks etcd how far the state has come.
const contactEvery = time.Second

// Contact tells as of when this member's followers had everything that was committed; zero: they never had.
func (l *Log) Contact() time.Time {
	if ns := l.contact.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

// keepContact keeps what Contact tells until ctx ends. What it learns also shows a watch that hangs.
func (l *Log) keepContact(ctx context.Context) {
	for ctx.Err() == nil {
		at := time.Now()
		if rev, err := l.headNow(ctx); err == nil {
			l.learn(rev)
			if seen := l.followed.Load(); seen > 0 && seen >= int64(rev) {
				l.contact.Store(at.UnixNano())
			}
		}
		sleep(ctx, contactEvery)
	}
}

// headNow is the revision of the last commit, confirmed by etcd's quorum.
func (l *Log) headNow(ctx context.Context) (store.Rev, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	resp, err := l.client.Get(ctx, l.keys.head, clientv3.WithKeysOnly())
	if err != nil || len(resp.Kvs) == 0 {
		return 0, err
	}
	return store.Rev(resp.Kvs[0].ModRevision), nil
}
