package etcdlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/store"
)

// Limits of one transaction of an import, well below etcd's.
const (
	importOps   = 100
	importBytes = 1 << 20
)

var (
	// ErrInUse: masters stand for leader below the prefix.
	ErrInUse = errors.New("masters still run on this etcd: stop them all (one that was killed counts until its lease is over, some seconds)")
	// ErrNotEmpty: there is a cluster below the prefix already.
	ErrNotEmpty = errors.New("there is a cluster below this prefix already")
	// ErrEmpty: there is no cluster below the prefix.
	ErrEmpty = errors.New("there is no cluster below this prefix")
	// ErrHeld: the prefix has a hold already.
	ErrHeld = errors.New("nobody may use this prefix")
)

// importing begins the hold of an import that is under way, or was broken off.
const importing = "an import into this prefix has begun and has not finished: "

// Offline is the state of a cluster in etcd whose masters are stopped.
type Offline struct {
	client *clientv3.Client
	keys   keys
	prefix string
}

// OpenOffline connects to an etcd. It must be closed.
func OpenOffline(access Access) (*Offline, error) {
	client, err := access.open()
	if err != nil {
		return nil, err
	}
	return &Offline{client: client, keys: keysOf(access.Prefix), prefix: access.Prefix}, nil
}

// Close ends the connection.
func (o *Offline) Close() error { return o.client.Close() }

// Prefix is that of all keys.
func (o *Offline) Prefix() string { return o.prefix }

// Hold has nobody lead from now on; why is what masters then say. It fails with ErrInUse if one runs, and with ErrEmpty. Release ends it.
func (o *Offline) Hold(ctx context.Context, why string) error {
	was, head, err := o.look(ctx)
	switch {
	case err != nil:
		return err
	case was != "":
		return fmt.Errorf("%w: %s says: %s", ErrHeld, o.keys.hold, was)
	case head == 0:
		return ErrEmpty
	}
	if err := o.put(ctx, o.keys.hold, why); err != nil {
		return err
	}
	if err := o.checkUnused(ctx); err != nil {
		return errors.Join(err, o.Release(ctx))
	}
	return nil
}

// Release lets masters lead again.
func (o *Offline) Release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	_, err := o.client.Delete(ctx, o.keys.hold)
	return wrap("release the hold", err)
}

// Read returns everything at one revision. The terms of all leaders so far are not higher than that.
func (o *Offline) Read(ctx context.Context) (store.Rev, map[string]store.KV, error) {
	var image store.Batch
	l := &Log{client: o.client, keys: o.keys}
	t := tail{log: l, from: o.keys.head, prefix: o.keys.data, end: clientv3.GetPrefixRangeEnd(o.keys.data), apply: func(b store.Batch) { image = b }}
	if err := t.list(ctx); err != nil {
		return 0, nil, wrap("read", err)
	}
	return image.Rev, image.Put, nil
}

// Import writes data where no cluster is, and reads it back. Nobody can lead before ready has returned without an error. One that was
// broken off can be repeated, which begins anew.
func (o *Offline) Import(ctx context.Context, data map[string][]byte, ready func() error) error {
	was, head, err := o.look(ctx)
	switch {
	case err != nil:
		return err
	case head != 0:
		return ErrNotEmpty
	case was != "" && !bytes.HasPrefix([]byte(was), []byte(importing)):
		return fmt.Errorf("%w: %s says: %s", ErrHeld, o.keys.hold, was)
	}
	if err := o.put(ctx, o.keys.hold, importing+"repeat it, or delete all keys below "+o.prefix); err != nil {
		return err
	}
	if err := o.checkUnused(ctx); err != nil {
		return err
	}
	if _, err := o.client.Delete(ctx, o.keys.data, clientv3.WithPrefix()); err != nil {
		return wrap("clear the prefix", err)
	}
	for _, ops := range batches(o.keys.data, data) {
		if _, err := o.client.Txn(ctx).Then(ops...).Commit(); err != nil {
			return wrap("write", err)
		}
	}
	_, got, err := o.Read(ctx)
	if err != nil {
		return err
	}
	if !maps.EqualFunc(got, data, func(kv store.KV, value []byte) bool { return bytes.Equal(kv.Value, value) }) {
		return fmt.Errorf("etcd holds %d keys below %s after %d were written, or other values: does something else write there?", len(got), o.keys.data, len(data))
	}
	if err := ready(); err != nil {
		return err
	}
	_, err = o.client.Txn(ctx).Then(clientv3.OpPut(o.keys.head, "import"), clientv3.OpDelete(o.keys.hold)).Commit()
	return wrap("finish", err)
}

// look reads the hold and the revision of the head.
func (o *Offline) look(ctx context.Context) (hold string, head store.Rev, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := o.client.Txn(ctx).Then(clientv3.OpGet(o.keys.hold), clientv3.OpGet(o.keys.head, clientv3.WithKeysOnly())).Commit()
	if err != nil {
		return "", 0, wrap("ask etcd", err)
	}
	if kvs := resp.Responses[0].GetResponseRange().GetKvs(); len(kvs) > 0 {
		hold = string(kvs[0].Value)
	}
	return hold, headRev(resp.Responses[1].GetResponseRange()), nil
}

// checkUnused fails with ErrInUse if a master stands for leader; one that was killed does so until its lease is over.
func (o *Offline) checkUnused(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := o.client.Get(ctx, o.keys.election+"/", clientv3.WithPrefix())
	if err != nil {
		return wrap("ask etcd", err)
	}
	if len(resp.Kvs) > 0 {
		return fmt.Errorf("%w: %s", ErrInUse, resp.Kvs[0].Value)
	}
	return nil
}

func (o *Offline) put(ctx context.Context, key, value string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := o.client.Put(ctx, key, value)
	return wrap("write "+key, err)
}

// batches makes transactions that etcd takes.
func batches(prefix string, data map[string][]byte) [][]clientv3.Op {
	var all [][]clientv3.Op
	size := importBytes
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if cost := len(prefix) + len(key) + len(data[key]); size+cost > importBytes || len(all[len(all)-1]) == importOps {
			all, size = append(all, nil), cost
		} else {
			size += cost
		}
		all[len(all)-1] = append(all[len(all)-1], clientv3.OpPut(prefix+key, string(data[key])))
	}
	return all
}

func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("etcd: %s: %w", what, err)
	}
	return nil
}

// Unreachable tells whether err means that etcd could not be asked.
func Unreachable(err error) bool {
	var refused rpctypes.EtcdError
	if errors.As(err, &refused) {
		return refused.Code() == codes.Unavailable
	}
	return errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.Unavailable
}
