package master

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/pkg/store/snapfile"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// snapshotChunk is how much of a snapshot goes into one message.
const snapshotChunk = 256 << 10

// SaveSnapshot implements the Cluster service.
func (s *service) SaveSnapshot(_ *vzpb.SaveSnapshotRequest, stream grpc.ServerStreamingServer[vzpb.SaveSnapshotResponse]) error {
	ctx := stream.Context()
	t := s.m.term.Load()
	if t == nil {
		return noLeader("it was lost just now")
	}
	st, _, err := s.fresh(ctx)
	if err != nil {
		return err
	}
	rev, data, err := s.m.image(ctx, st.Rev())
	if err != nil {
		return toStatus(err)
	}
	meta, _ := st.Meta()
	out := bufio.NewWriterSize(chunks{stream}, snapshotChunk)
	h := snapfile.Header{ClusterID: meta.ClusterID, Format: meta.Format, Rev: rev, Term: t.number, Taken: time.Now().UTC(), Master: s.m.cfg.ID}
	if err := errors.Join(snapfile.Write(out, h, data), out.Flush()); err != nil {
		return toStatus(err)
	}
	return nil
}

// chunks writes to the stream.
type chunks struct {
	stream grpc.ServerStreamingServer[vzpb.SaveSnapshotResponse]
}

func (c chunks) Write(b []byte) (int, error) {
	for at := 0; at < len(b); at += snapshotChunk {
		part := b[at:min(at+snapshotChunk, len(b))]
		err := within(c.stream.Context(), func() error {
			return c.stream.Send(&vzpb.SaveSnapshotResponse{Data: append([]byte(nil), part...)})
		})
		if err != nil {
			return at, err
		}
	}
	return len(b), nil
}

// image returns everything that is stored, as of revision from or later.
func (m *Master) image(ctx context.Context, from store.Rev) (rev store.Rev, data map[string]store.KV, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := false
	err = m.log.Follow(ctx, func(b store.Batch) {
		switch {
		case done:
			return
		case b.Reset:
			data = maps.Clone(b.Put)
		default:
			maps.Copy(data, b.Put)
			for _, key := range b.Del {
				delete(data, key)
			}
		}
		if rev = b.Rev; rev >= from {
			done = true
			cancel()
		}
	})
	if !done {
		return 0, nil, fmt.Errorf("read the records: %w", errors.Join(err, ctx.Err()))
	}
	return rev, data, nil
}
