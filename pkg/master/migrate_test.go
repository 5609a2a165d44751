package master

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

func (w *world) migrate(c vzpb.ClusterClient, name, to string) (cluster.Migration, error) {
	r, err := c.Migrate(w.ctx, &vzpb.MigrateRequest{OpKey: w.opKey(), Name: name, To: to})
	if err != nil {
		return cluster.Migration{}, err
	}
	return decodeJSON[cluster.Migration](w.t, r.Json), nil
}

func (w *world) migration(id string) cluster.Migration {
	m, _ := w.state().Migrations().Get(id)
	return m
}

// one checks that exactly one copy of the container is left, that it runs on the owner under the newest epoch, and that nothing is locked.
func (w *world) one(ctid, node string) {
	w.t.Helper()
	c := w.container(ctid)
	if c.Node != node || c.Migration != "" || c.State != cluster.ContainerRunning {
		w.t.Errorf("record: %+v, want it running on %s", c, node)
	}
	var all []string
	for _, a := range w.agents {
		for _, s := range a.states() {
			if strings.HasPrefix(s, ctid+"@") {
				all = append(all, a.name+" "+s)
			}
		}
	}
	if want := fmt.Sprintf("%s %s running", node, copyName(ctid, uint64(c.Epoch))); !slices.Equal(all, []string{want}) {
		w.t.Errorf("copies %v, want only %q", all, want)
	}
}

func TestMigrateThereAndBack(t *testing.T) {
	inWorld(t, 1, []string{"n1", "n2"}, func(w *world) {
		t := w.t
		w.template("t")
		c, done := w.client(0)
		defer done()
		ctid := w.running(c, "web", "n1")
		for i, to := range []string{"n2", "n1", "n2"} {
			epoch := w.container(ctid).Epoch
			m, err := w.migrate(c, "web", to)
			if err != nil {
				t.Fatal(err)
			}
			watch, err := c.WatchMigration(w.ctx, &vzpb.WatchMigrationRequest{Id: m.ID})
			if err != nil {
				t.Fatal(err)
			}
			var last cluster.Migration
			for {
				r, err := watch.Recv()
				if err != nil {
					break
				}
				last = decodeJSON[cluster.Migration](t, r.Json)
			}
			if !last.Closed || last.Phase != cluster.PhaseDone || last.From.Step != cluster.SourceDestroyed || last.To.Step != cluster.TargetRunning {
				t.Fatalf("move %d ended as %+v", i, last)
			}
			w.settle(2 * time.Second)
			w.one(ctid, to)
			if got := w.container(ctid).Epoch; got != epoch+1 {
				t.Errorf("epoch %d after %d", got, epoch)
			}
			for _, a := range w.agents {
				if len(a.migrations) != 0 || len(a.discarded) != 0 {
					t.Errorf("%s still reports %v, was told to discard %v", a.name, a.migrations, a.discarded)
				}
			}
		}
	})
}

func TestMigrateRefusals(t *testing.T) {
	inWorld(t, 1, []string{"n1", "n2", "n3"}, func(w *world) {
		t := w.t
		w.template("t")
		c, done := w.client(0)
		defer done()
		ctid := w.running(c, "web", "n1")
		if _, err := c.CreateContainer(w.ctx, &vzpb.CreateContainerRequest{OpKey: w.opKey(), Name: "idle", On: "n1", SpecJson: spec()}); err != nil {
			t.Fatal(err)
		}
		w.agents["n3"].do(func() { w.agents["n3"].info.Features.CPUFlags = []string{"sse"} })
		w.settle(2 * time.Second)
		before := w.state().Rev()
		for _, tc := range []struct {
			name, to string
			want     codes.Code
			says     string
		}{
			{"nope", "n2", codes.NotFound, `container "nope"`},
			{"web", "n9", codes.NotFound, `node "n9"`},
			{"web", "", codes.InvalidArgument, "--to"},
			{"web", "n1", codes.FailedPrecondition, "already"},
			{"idle", "n2", codes.FailedPrecondition, "stopped"},
			{"web", "n3", codes.FailedPrecondition, "lacks what that of n1 has: avx"},
		} {
			_, err := w.migrate(c, tc.name, tc.to)
			wantCode(t, tc.name+" to "+tc.to, err, tc.want)
			if !strings.Contains(status.Convert(err).Message(), tc.says) {
				t.Errorf("%s to %s: %v does not say %q", tc.name, tc.to, err, tc.says)
			}
		}
		if w.state().Rev() != before {
			t.Error("refusals changed the state")
		}
		// While one runs: no second one, and no other order.
		w.agents["n1"].do(func() { w.agents["n1"].stuck["source/copy"] = true })
		m, err := w.migrate(c, "web", "n2")
		if err != nil {
			t.Fatal(err)
		}
		w.settle(time.Second)
		_, err = w.migrate(c, "web", "n2")
		wantCode(t, "second migration", err, codes.FailedPrecondition)
		if !strings.Contains(status.Convert(err).Message(), "migration "+m.ID) {
			t.Errorf("the open one is not named: %v", err)
		}
		for what, f := range map[string]func() error{
			"stop": func() error {
				_, err := c.StopContainer(w.ctx, &vzpb.ContainerOpRequest{OpKey: w.opKey(), Name: ctid})
				return err
			},
			"destroy": func() error {
				_, err := c.DestroyContainer(w.ctx, &vzpb.ContainerOpRequest{OpKey: w.opKey(), Name: ctid, Force: true})
				return err
			},
			"set": func() error {
				_, err := c.SetContainer(w.ctx, &vzpb.SetContainerRequest{OpKey: w.opKey(), Name: ctid, SpecJson: spec(), Fields: []string{cluster.FieldOnBoot}})
				return err
			},
		} {
			wantCode(t, what+" during a migration", f(), codes.FailedPrecondition)
		}
	})
}

// Each way to fail before the commit leaves the container where it was, unlocked, and a second try works.
func TestAborts(t *testing.T) {
	for name, tc := range map[string]struct {
		fault func(w *world)
		wait  time.Duration
		says  string
	}{
		"source reports an error": {func(w *world) {
			a := w.agents["n1"]
			a.do(func() {
				a.stuck["source/switch"] = true
				a.migrations["1"].Error = "a fuse mount"
			})
		}, 5 * time.Second, "a fuse mount"},
		"target never restores": {func(w *world) {
			w.agents["n2"].do(func() { w.agents["n2"].stuck["target/switch"] = true })
			w.agents["n1"].do(func() { delete(w.agents["n1"].stuck, "source/copy") })
		}, 70 * time.Second, "deadline"},
		"target votes for other content": {func(w *world) {
			w.agents["n2"].do(func() { w.agents["n2"].stuck["target/switch"] = true })
			w.agents["n1"].do(func() { delete(w.agents["n1"].stuck, "source/copy") })
			w.settle(time.Second)
			w.agents["n2"].do(func() {
				w.agents["n2"].migrations["1"].Step, w.agents["n2"].migrations["1"].Digest = "held", "other"
			})
		}, 5 * time.Second, "different content"},
		"target dies": {func(w *world) { w.stop("n2") }, 20 * time.Second, "n2 is offline"},
		"target reboots": {func(w *world) {
			w.agents["n2"].reboot()
		}, 20 * time.Second, "n2 booted"},
		"copying takes too long": {func(*world) {}, 11 * time.Minute, "deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, []string{"n1", "n2", "n3"}, func(w *world) {
				t := w.t
				w.template("t")
				c, done := w.client(0)
				defer done()
				ctid := w.running(c, "web", "n1")
				w.agents["n1"].stuck["source/copy"] = true
				m, err := w.migrate(c, "web", "n2")
				if err != nil {
					t.Fatal(err)
				}
				w.settle(time.Second)
				if got := w.migration(m.ID); got.Phase != cluster.PhaseCopy {
					t.Fatalf("not copying: %+v", got)
				}
				tc.fault(w)
				w.settle(tc.wait)
				got := w.migration(m.ID)
				if got.Phase != cluster.PhaseFailed || !got.Closed || !strings.Contains(got.Reason, tc.says) {
					t.Fatalf("got %s, closed %v, reason %q; want it failed because of %q", got.Phase, got.Closed, got.Reason, tc.says)
				}
				delete(w.agents["n1"].stuck, "source/copy")
				delete(w.agents["n1"].stuck, "source/switch")
				w.settle(2 * time.Second)
				if _, err := w.migrate(c, ctid, "n3"); err != nil {
					t.Fatalf("second try: %v", err)
				}
				w.settle(5 * time.Second)
				if len(w.agents["n2"].states()) > 0 && w.node("n2").State == cluster.NodeOnline {
					t.Errorf("left on n2: %v", w.agents["n2"].states())
				}
				delete(w.agents, "n2")
				w.one(ctid, "n3")
			})
		})
	}
}

// A change of leader in any phase does not change how it ends.
func TestLeaderChangesDuringMigration(t *testing.T) {
	for _, stop := range []string{"source/prepare", "source/copy", "source/switch", "target/switch", "target/committed", "source/done"} {
		t.Run(stop, func(t *testing.T) {
			inWorld(t, 3, []string{"n1", "n2"}, func(w *world) {
				t := w.t
				w.template("t")
				c, done := w.client(w.log.Leader())
				defer done()
				ctid := w.running(c, "web", "n1")
				for _, a := range w.agents {
					a.stuck[stop] = true
				}
				m, err := w.migrate(c, "web", "n2")
				if err != nil {
					t.Fatal(err)
				}
				w.settle(time.Second)
				w.log.Elect((w.log.Leader() + 1) % 3)
				w.settle(3 * time.Second)
				for _, a := range w.agents {
					a.do(func() { delete(a.stuck, stop) })
				}
				// The agents only look again when they are told something new: their sessions begin anew.
				w.log.Elect((w.log.Leader() + 1) % 3)
				w.settle(10 * time.Second)
				if got := w.migration(m.ID); got.Phase != cluster.PhaseDone || !got.Closed {
					t.Fatalf("ended as %+v", got)
				}
				w.one(ctid, "n2")
			})
		})
	}
}

// The source's host dies after both votes could be given: the target has everything, so the container moves. When the host comes back
// its copy is discarded by name, and nothing else is.
func TestSourceDiesAfterItsVote(t *testing.T) {
	inWorld(t, 1, []string{"n1", "n2"}, func(w *world) {
		t := w.t
		w.template("t")
		c, done := w.client(0)
		defer done()
		ctid := w.running(c, "web", "n1")
		other := w.running(c, "db", "n1")
		n1 := w.agents["n1"]
		n1.stuck["source/done"] = true
		m, err := w.migrate(c, "web", "n2")
		if err != nil {
			t.Fatal(err)
		}
		w.settle(time.Second)
		w.stop("n1")
		w.settle(20 * time.Second)
		if got := w.migration(m.ID); got.Phase != cluster.PhaseDone || !got.Closed {
			t.Fatalf("ended as %+v", got)
		}
		n1.migrations = map[string]*vzpb.MigrationReport{} // its journal was on the lost disk
		n1.reboot()
		w.start(n1)
		w.settle(5 * time.Second)
		w.one(ctid, "n2")
		w.one(other, "n1")
		if !slices.Equal(slices.Compact(n1.discarded), []string{copyName(ctid, 1)}) {
			t.Errorf("discarded %v", n1.discarded)
		}
	})
}

// The target's host dies right after the commit: there is no way back; when it returns it starts the container from its disk.
func TestTargetDiesAfterTheCommit(t *testing.T) {
	inWorld(t, 1, []string{"n1", "n2"}, func(w *world) {
		t := w.t
		w.template("t")
		c, done := w.client(0)
		defer done()
		ctid := w.running(c, "web", "n1")
		n2 := w.agents["n2"]
		n2.stuck["target/committed"] = true
		m, err := w.migrate(c, "web", "n2")
		if err != nil {
			t.Fatal(err)
		}
		w.settle(time.Second)
		w.stop("n2")
		w.settle(10 * time.Minute)
		if got := w.migration(m.ID); got.Phase != cluster.PhaseCommitted || !strings.Contains(got.Reason, "n2 is offline") {
			t.Fatalf("got %+v, want it to wait, and to say so", got)
		}
		if got := w.agents["n1"].states(); !slices.Equal(got, []string{copyName(ctid, 1) + " frozen"}) {
			t.Fatalf("the source has %v", got)
		}
		// The agent finds its tasks gone and makes the files live: a stopped copy under the new epoch.
		n2.do(func() {
			n2.boot, n2.starts = "again", 2
			n2.copies[0].State, n2.copies[0].Epoch, n2.copies[0].RunGen = string(cluster.CopyStopped), 2, 1
			delete(n2.stuck, "target/committed")
		})
		w.start(n2)
		w.settle(10 * time.Second)
		w.one(ctid, "n2")
		if got := w.migration(m.ID); got.Phase != cluster.PhaseDone || !got.Closed {
			t.Errorf("ended as %+v", got)
		}
	})
}

// Copies of unknown origin are left alone and shown; those of destroyed containers go.
func TestOrphans(t *testing.T) {
	inWorld(t, 1, []string{"n1"}, func(w *world) {
		t := w.t
		if _, err := w.leader().store.Update(w.ctx, func(tx *store.Tx) error {
			tx.Gone().Put(cluster.Gone{CTID: "150", Epoch: 3})
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		n1 := w.agents["n1"]
		n1.do(func() {
			for _, c := range []struct {
				ctid  string
				epoch uint64
			}{{"150", 3}, {"150", 4}, {"777", 1}} {
				n1.copies = append(n1.copies, &vzpb.CopyReport{Ctid: c.ctid, Epoch: c.epoch, State: string(cluster.CopyStopped)})
			}
		})
		w.settle(3 * time.Second)
		if got := n1.states(); !slices.Equal(got, []string{"150@4 stopped", "777@1 stopped"}) {
			t.Errorf("left: %v", got)
		}
		c, done := w.client(0)
		defer done()
		r, err := c.ListNodes(w.ctx, &vzpb.ListNodesRequest{Name: "n1"})
		if err != nil {
			t.Fatal(err)
		}
		if live := decodeJSON[cluster.NodeLive](t, r.Nodes[0].LiveJson); len(live.Copies) != 2 {
			t.Errorf("orphans are not shown: %+v", live)
		}
	})
}
