package master

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/rpc"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// A reader that does not read is cut off; one that reads again is given the present record first. So it is through a follower.
func TestSlowWatchIsCutOff(t *testing.T) {
	for _, through := range []string{"leader", "follower"} {
		t.Run(through, func(t *testing.T) {
			inWorld(t, 3, []string{"n1"}, func(w *world) {
				w.template("t")
				i := w.log.Leader()
				if through == "follower" {
					i = (i + 1) % 3
				}
				c, done := w.client(i)
				defer done()
				ctid := w.running(c, "web", "n1")
				ctx, cancel := context.WithCancel(w.ctx)
				defer cancel()
				slow, err := c.WatchContainer(ctx, &vzpb.WatchContainerRequest{Name: ctid})
				if err != nil {
					t.Fatal(err)
				}
				// More than all buffers on the way hold.
				for n := range 200 {
					w.rewrite(ctid, strings.Repeat("x", 4000)+string(rune('a'+n%26)))
					synctest.Wait()
				}
				w.settle(2 * slowReader)
				var end error
				for end == nil {
					_, end = slow.Recv()
				}
				if status.Code(end) != codes.ResourceExhausted {
					t.Fatalf("the slow reader got %v, want RESOURCE_EXHAUSTED", end)
				}
				w.rewrite(ctid, "the last change")
				again, err := c.WatchContainer(ctx, &vzpb.WatchContainerRequest{Name: ctid})
				if err != nil {
					t.Fatal(err)
				}
				r, err := again.Recv()
				if err != nil {
					t.Fatal(err)
				}
				if got := decodeJSON[cluster.Container](t, r.Json); got.Reason != "the last change" {
					t.Errorf("the new watch begins with %q", got.Reason)
				}
			})
		})
	}
}

// rewrite gives a container another reason.
func (w *world) rewrite(ctid, reason string) {
	w.t.Helper()
	if _, err := w.leader().store.Update(w.ctx, func(tx *store.Tx) error {
		c, _ := tx.Containers().Get(ctid)
		c.Reason = reason
		tx.Containers().Put(c)
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
}

// A stale read is answered without a leader, and says as of when and by whom; a fresh one is not answered then.
func TestStaleRead(t *testing.T) {
	inWorld(t, 3, nil, func(w *world) {
		follower := (w.log.Leader() + 1) % 3
		w.template("t")
		w.settle(time.Second)
		w.log.Cut(w.log.Leader())
		w.log.Cut((follower + 1) % 3)
		w.settle(5 * time.Second)
		conn, err := w.lan.dial(w.addrs[follower])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		c := vzpb.NewClusterClient(conn)
		if _, err := c.ListTemplates(w.ctx, &vzpb.ListTemplatesRequest{}); status.Code(err) != codes.Unavailable {
			t.Errorf("a fresh read without quorum: %v, want UNAVAILABLE", err)
		}
		ctx := metadata.AppendToOutgoingContext(w.ctx, rpc.StaleKey, "1")
		r, err := c.ListTemplates(ctx, &vzpb.ListTemplatesRequest{})
		if err != nil || len(r.Templates) != 1 {
			t.Errorf("a stale read without quorum: %v, %v", r, err)
		}
		if _, err := c.CordonNode(ctx, &vzpb.CordonNodeRequest{OpKey: "k", Name: "n1", Cordon: true}); status.Code(err) != codes.Unavailable {
			t.Errorf("a change that says that stale will do: %v, want UNAVAILABLE", err)
		}
	})
}

func TestLostMutationIsUnknown(t *testing.T) {
	gone := status.Error(codes.Unavailable, "the connection is gone")
	for _, c := range []struct {
		what     string
		key      string
		answered bool
		err      error
		want     codes.Code
	}{
		{"a change, lost", "k", false, gone, codes.Unknown},
		{"a change, out of time", "k", false, status.Error(codes.DeadlineExceeded, "late"), codes.Unknown},
		{"a change, refused by the leader", "k", true, gone, codes.Unavailable},
		{"a change, forbidden", "k", false, status.Error(codes.FailedPrecondition, "no"), codes.FailedPrecondition},
		{"a question, lost", "", false, gone, codes.Unavailable},
	} {
		if got := status.Code(lostMutation(c.key, c.answered, c.err)); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

// An operation remembers which run order was its own.
func TestOperationRemembersItsRunOrder(t *testing.T) {
	inWorld(t, 1, []string{"n1"}, func(w *world) {
		w.template("t")
		c, done := w.client(0)
		defer done()
		ctid := w.running(c, "web", "n1")
		key := w.opKey()
		if _, err := c.StopContainer(w.ctx, &vzpb.ContainerOpRequest{OpKey: key, Name: ctid}); err != nil {
			t.Fatal(err)
		}
		stop := w.container(ctid).RunGen
		w.settle(5 * time.Second)
		if _, err := c.StartContainer(w.ctx, &vzpb.ContainerOpRequest{OpKey: w.opKey(), Name: ctid}); err != nil {
			t.Fatal(err)
		}
		r, err := c.GetOperation(w.ctx, &vzpb.GetOperationRequest{OpKey: key})
		if err != nil {
			t.Fatal(err)
		}
		if op := decodeJSON[cluster.Operation](t, r.Json); op.RunGen != stop || w.container(ctid).RunGen == stop {
			t.Errorf("the operation remembers order %d, its own was %d", op.RunGen, stop)
		}
	})
}

// A snapshot that is sent holds what the store does.
func TestSaveSnapshot(t *testing.T) {
	inWorld(t, 3, nil, func(w *world) {
		w.template("t")
		c, done := w.client((w.log.Leader() + 1) % 3)
		defer done()
		stream, err := c.SaveSnapshot(w.ctx, &vzpb.SaveSnapshotRequest{})
		if err != nil {
			t.Fatal(err)
		}
		var file strings.Builder
		for {
			r, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			file.Write(r.Data)
		}
		h, data := readSnapshot(t, file.String())
		if meta, _ := w.state().Meta(); h.ClusterID != meta.ClusterID || h.Rev == 0 || h.Term == 0 || len(data["template/t"].Value) == 0 {
			t.Errorf("header %+v, keys %d", h, len(data))
		}
	})
}
