package master

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/rpc"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// realCluster is masters on the loopback network, each with all others in its --join.
type realCluster struct {
	t       *testing.T
	apis    []string
	rafts   []string
	dirs    []string
	masters []*realMaster // nil: stopped
}

func newRealCluster(t *testing.T, n int) *realCluster {
	c := &realCluster{t: t, masters: make([]*realMaster, n)}
	for range n {
		c.apis, c.rafts, c.dirs = append(c.apis, freePort(t)), append(c.rafts, freePort(t)), append(c.dirs, t.TempDir())
	}
	t.Cleanup(func() {
		for i := range c.masters {
			c.stop(i)
		}
	})
	for i := range n {
		c.start(i)
	}
	c.whole(n)
	return c
}

func (c *realCluster) start(i int) {
	c.masters[i] = startReal(c.t, fmt.Sprintf("m%d", i+1), c.dirs[i], c.apis[i], c.rafts[i], i == 0, c.apis)
}

func (c *realCluster) stop(i int) {
	if c.masters[i] != nil {
		c.masters[i].stop(c.t)
		c.masters[i] = nil
	}
}

// refused waits until master i has ended by itself, and returns why.
func (c *realCluster) refused(i int) string {
	c.t.Helper()
	m := c.masters[i]
	c.masters[i] = nil
	select {
	case err := <-m.ended:
		var refused *RefusedError
		if !errors.As(err, &refused) {
			c.t.Fatalf("master %d ended with %v, which is no refusal", i+1, err)
		}
		return refused.Error()
	case <-time.After(time.Minute):
		m.cancel()
		c.t.Fatalf("master %d takes part", i+1)
	}
	return ""
}

func (c *realCluster) client(i int) vzpb.ClusterClient {
	c.t.Helper()
	conn, err := rpc.Dial(c.apis[i])
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	return vzpb.NewClusterClient(conn)
}

// roll asks any running master for all.
func (c *realCluster) roll(ctx context.Context) (out []cluster.MasterInfo, err error) {
	for i, m := range c.masters {
		if m == nil {
			continue
		}
		var r *vzpb.ListMastersResponse
		if r, err = c.client(i).ListMasters(ctx, &vzpb.ListMastersRequest{}); err == nil {
			return decodeJSON[[]cluster.MasterInfo](c.t, r.Json), nil
		}
	}
	return nil, err
}

// whole waits until n masters vote, and all of them have heard of all.
func (c *realCluster) whole(n int) {
	c.t.Helper()
	until(c.t, fmt.Sprintf("%d voters", n), func(ctx context.Context) error {
		all, err := c.roll(ctx)
		if err != nil {
			return err
		}
		for _, m := range all {
			// The nonce: its present start is in the records.
			if !m.Voter || m.State == nil || len(m.State.Knows) != n || len(all) != n || m.Nonce != m.State.Nonce {
				return fmt.Errorf("masters: %+v", all)
			}
		}
		return nil
	})
}

// leader returns the number of the leader, and of somebody else.
func (c *realCluster) leader() (lead, other int) {
	c.t.Helper()
	until(c.t, "a leader", func(ctx context.Context) error {
		all, err := c.roll(ctx)
		lead, other = -1, -1
		for i, m := range all {
			if m.Leader {
				lead = i
			} else if m.State != nil {
				other = i
			}
		}
		if err == nil && (lead < 0 || other < 0) {
			err = fmt.Errorf("masters: %+v", all)
		}
		return err
	})
	return lead, other
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// What a member has acknowledged must not be forgotten: with an empty, an older, or a copied directory it may not take part. When it
// was removed it may come back as a new one.
func TestForgetfulMastersAreRefused(t *testing.T) {
	c := newRealCluster(t, 3)
	old := t.TempDir() + "/old"

	// The first master, with --bootstrap, has lost its data: it must not found a second cluster.
	c.stop(0)
	copyDir(t, c.dirs[0], old)
	if err := os.RemoveAll(c.dirs[0]); err != nil {
		t.Fatal(err)
	}
	c.start(0)
	if why := c.refused(0); !strings.Contains(why, "master remove m1") {
		t.Errorf("without its data: %s", why)
	}

	// Its own directory is welcome, once: what was saved before that start is an older state.
	copyDir(t, old, c.dirs[0])
	c.start(0)
	c.whole(3)
	c.stop(0)
	copyDir(t, old, c.dirs[0])
	c.start(0)
	if why := c.refused(0); !strings.Contains(why, "copy or an older state") {
		t.Errorf("with an older state: %s", why)
	}

	// Removed, and started with nothing: a new member.
	until(t, "m1 is removed", func(ctx context.Context) error {
		_, err := c.client(1).RemoveMaster(ctx, &vzpb.RemoveMasterRequest{OpKey: "remove-m1", Ids: []string{"m1"}, Force: true})
		return err
	})
	if err := os.RemoveAll(c.dirs[0]); err != nil {
		t.Fatal(err)
	}
	c.start(0)
	c.whole(3)
}

// A copy of a running member's directory is refused, whatever address it comes from.
func TestClonedMasterIsRefused(t *testing.T) {
	c := newRealCluster(t, 3)
	_, i := c.leader()
	clone := t.TempDir() + "/clone"
	copyDir(t, c.dirs[i], clone)
	m := startReal(t, fmt.Sprintf("m%d", i+1), clone, freePort(t), freePort(t), false, c.apis)
	select {
	case err := <-m.ended:
		var refused *RefusedError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), "copy") {
			t.Errorf("the copy ended with %v", err)
		}
	case <-time.After(time.Minute):
		m.stop(t)
		t.Fatal("the copy takes part")
	}
	c.whole(3)
}

// Masters are removed through any of them, the leader too; a removed one ends, the operation can be repeated, and what would break the
// quorum is refused.
func TestRemoveMasters(t *testing.T) {
	c := newRealCluster(t, 3)
	lead, other := c.leader()
	id := fmt.Sprintf("m%d", lead+1)
	req := &vzpb.RemoveMasterRequest{OpKey: "r1", Ids: []string{id}}
	if _, err := c.client(other).RemoveMaster(t.Context(), req); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("down to two without force: %v, want FAILED_PRECONDITION", err)
	}
	req.Force = true
	for _, what := range []string{"the leader is removed", "again, with the same key"} {
		until(t, what, func(ctx context.Context) error {
			_, err := c.client(other).RemoveMaster(ctx, req)
			return err
		})
	}
	if why := c.refused(lead); !strings.Contains(why, "removed") {
		t.Errorf("the removed leader: %s", why)
	}
	c.whole(2)
	// With its directory it may not come back.
	c.start(lead)
	if why := c.refused(lead); !strings.Contains(why, "removed") {
		t.Errorf("the removed one, again: %s", why)
	}
	// An unreachable master can be announced and taken out; it never counts.
	if _, err := c.client(other).AddMaster(t.Context(), &vzpb.AddMasterRequest{Id: "ghost", RaftAddr: "127.0.0.1:1", ApiAddr: "127.0.0.1:2"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.client(other).RemoveMaster(t.Context(), &vzpb.RemoveMasterRequest{OpKey: "r2", Ids: []string{"ghost"}}); err != nil {
		t.Fatal(err)
	}
	c.whole(2)
}

// The leadership goes where it is sent, once per key.
func TestStepDown(t *testing.T) {
	c := newRealCluster(t, 3)
	lead, other := c.leader()
	req := &vzpb.StepDownRequest{OpKey: "s1", To: fmt.Sprintf("m%d", other+1)}
	for range 2 {
		until(t, "step down", func(ctx context.Context) error {
			r, err := c.client(lead).StepDown(ctx, req)
			if err == nil && r.Was != fmt.Sprintf("m%d", lead+1) {
				t.Errorf("it was %s, want m%d", r.Was, lead+1)
			}
			return err
		})
		until(t, "the other one leads", func(ctx context.Context) error {
			now, _ := c.leader()
			if now != other {
				return fmt.Errorf("m%d leads", now+1)
			}
			return nil
		})
	}
}

// A follower never has the one that is judged speak for itself, though it may still take it for the leader.
func TestNobodyJudgesItself(t *testing.T) {
	inWorld(t, 3, nil, func(w *world) {
		lead := w.log.Leader()
		follower := w.masters[(lead+1)%3]
		if addr, ok := follower.leaderToAsk(w.ctx, cluster.Presence{APIAddr: w.addrs[lead]}); ok {
			t.Errorf("the judged one itself is asked: %s", addr)
		}
		if addr, ok := follower.leaderToAsk(w.ctx, cluster.Presence{APIAddr: w.addrs[(lead+2)%3]}); !ok || addr != w.addrs[lead] {
			t.Errorf("the leader is not asked, but %q", addr)
		}
		if addr, ok := w.masters[lead].leaderToAsk(w.ctx, cluster.Presence{APIAddr: "x:1"}); ok {
			t.Errorf("a leader asks %s", addr)
		}
	})
}
