package master

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
)

// keyed is a request that carries an operation key.
type keyed interface {
	proto.Message
	GetOpKey() string
}

// errDryRun ends the transaction of a dry run: everything was checked, nothing is written.
var errDryRun = errors.New("dry run")

// requestHash is equal for equal requests, whatever their key.
func requestHash(req proto.Message) string {
	m := proto.Clone(req).ProtoReflect()
	if f := m.Descriptor().Fields().ByName(protoreflect.Name("op_key")); f != nil {
		m.Clear(f)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m.Interface())
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// mutate runs fn in one transaction together with the operation's record. fn returns the object that it made or changed. An operation
// whose key is known already does nothing again: replayed is true, and object is the first one's.
func (s *service) mutate(ctx context.Context, method string, req keyed, fn func(tx *store.Tx, now time.Time) (object string, err error)) (st *store.State, object string, replayed bool, err error) {
	return s.mutateHash(ctx, method, req.GetOpKey(), requestHash(req), fn)
}

func (s *service) mutateHash(ctx context.Context, method, key, hash string, fn func(tx *store.Tx, now time.Time) (string, error)) (st *store.State, object string, replayed bool, err error) {
	if err := cluster.ValidateOpKey(key); err != nil {
		return nil, "", false, toStatus(err)
	}
	st, err = s.m.store.Update(ctx, func(tx *store.Tx) (err error) {
		now := time.Now().UTC()
		op, known := tx.Operations().Get(key)
		replayed = known
		if known {
			if op.Method != method || op.Hash != hash {
				return status.Errorf(codes.AlreadyExists, "operation key %q was used for another request (%s of %s); use a fresh key", key, op.Method, op.Object)
			}
			object = op.Object
			return nil
		}
		if object, err = fn(tx, now); err != nil {
			return err
		}
		tx.Operations().Put(cluster.Operation{Key: key, Method: method, Hash: hash, Object: object, RunGen: runGen(tx, method, object), Created: now})
		return nil
	})
	if errors.Is(err, errDryRun) {
		return nil, object, replayed, err
	}
	if err != nil {
		return nil, object, replayed, toStatus(err)
	}
	slog.Info("operation", "method", method, "object", object, "key", key, "replayed", replayed)
	return st, object, replayed, nil
}

// runGen is the run order that a container's start or stop has made or found: whoever asks for the outcome later waits for this one.
func runGen(tx *store.Tx, method, object string) uint64 {
	switch method {
	case "StartContainer", "StopContainer", "DestroyContainer":
		c, _ := tx.Containers().Get(object)
		return c.RunGen
	}
	return 0
}
