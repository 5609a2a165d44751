package master

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// A silent node is unknown first and offline only when its lease is over on its own clock too.
func TestLeaseRunsOut(t *testing.T) {
	inWorld(t, 1, []string{"n1", "n2"}, func(w *world) {
		t := w.t
		if w.node("n1").State != cluster.NodeOnline {
			t.Fatalf("not online: %+v", w.node("n1"))
		}
		before := w.state().Rev()
		w.settle(10 * time.Minute)
		if w.state().Rev() != before {
			t.Error("plain heartbeats are stored")
		}
		w.stop("n1")
		stopped := time.Now()
		offline := time.Time{}
		seen := map[cluster.NodeState]time.Duration{}
		for offline.IsZero() && time.Since(stopped) < time.Minute {
			w.settle(100 * time.Millisecond)
			st := w.node("n1").State
			if _, ok := seen[st]; !ok {
				seen[st] = time.Since(stopped)
			}
			if st == cluster.NodeOffline {
				offline = time.Now()
			}
		}
		if u := seen[cluster.NodeUnknown]; u < 3*time.Second || u > 6*time.Second {
			t.Errorf("unknown after %v", u)
		}
		if o := seen[cluster.NodeOffline]; o < DefaultLeases.Lease || o > DefaultLeases.over()+time.Second {
			t.Errorf("offline after %v", o)
		}
		if w.node("n2").State != cluster.NodeOnline {
			t.Error("the other node suffered")
		}
		w.start(w.agents["n1"])
		w.settle(time.Second)
		if w.node("n1").State != cluster.NodeOnline {
			t.Error("not online again")
		}
	})
}

// A new leader knows nothing of the nodes: it gives each a full lease before it says anything.
func TestNewLeaderWaits(t *testing.T) {
	inWorld(t, 2, []string{"n1"}, func(w *world) {
		t := w.t
		w.stop("n1")
		w.settle(3 * time.Second)
		w.log.Elect(1 - w.log.Leader())
		elected := time.Now()
		for time.Since(elected) < DefaultLeases.over()-200*time.Millisecond {
			w.settle(200 * time.Millisecond)
			if st := w.node("n1").State; st != cluster.NodeOnline {
				t.Fatalf("%s after %v", st, time.Since(elected))
			}
		}
		w.settle(time.Second)
		if st := w.node("n1").State; st != cluster.NodeOffline {
			t.Errorf("%s after a full lease", st)
		}
	})
}

// Sessions end with the leadership and find the new leader; nothing that runs is touched.
func TestSessionsFollowTheLeader(t *testing.T) {
	inWorld(t, 3, []string{"n1", "n2"}, func(w *world) {
		t := w.t
		w.template("t")
		c, done := w.client(0)
		defer done()
		ctid := w.running(c, "web", "n1")
		was := w.container(ctid)
		for range 4 {
			w.log.Elect((w.log.Leader() + 1) % 3)
			w.settle(20 * time.Second)
			for _, n := range []string{"n1", "n2"} {
				if st := w.node(n).State; st != cluster.NodeOnline {
					t.Fatalf("%s is %s", n, st)
				}
			}
		}
		if got := w.container(ctid); got.RunGen != was.RunGen || got.Epoch != was.Epoch || got.State != cluster.ContainerRunning {
			t.Errorf("before %+v, now %+v", was, got)
		}
	})
}

// Two hosts with one name: the one that is live keeps it; after a reboot the new one gets it.
func TestClonedAgent(t *testing.T) {
	inWorld(t, 1, []string{"n1"}, func(w *world) {
		t := w.t
		real := w.agents["n1"]
		clone := newAgent("n1")
		clone.boot, clone.info.Address = "clone", "elsewhere:7710"
		w.start(clone)
		w.settle(time.Minute)
		if got := w.node("n1"); got.BootID != real.boot || got.Info.Address != "n1:7710" {
			t.Errorf("the clone took over: %+v", got)
		}
		wantCode(t, "the clone", clone.refused, codes.AlreadyExists)
		if !strings.Contains(status.Convert(clone.refused).Message(), "two hosts with one name") {
			t.Errorf("unclear: %v", clone.refused)
		}
	})
}

func TestOlderAgentIsRefused(t *testing.T) {
	inWorld(t, 1, []string{"n1"}, func(w *world) {
		t := w.t
		old, now := &session{node: "x", boot: "b", starts: 1, cancel: func(error) {}}, &session{node: "x", boot: "b", starts: 2, cancel: func(error) {}}
		l := newLive(time.Now(), time.Second)
		if err := l.join(now, time.Now(), time.Second); err != nil {
			t.Fatal(err)
		}
		wantCode(t, "an older start", l.join(old, time.Now(), time.Second), codes.FailedPrecondition)
		again := &session{node: "x", boot: "b", starts: 2, cancel: func(error) {}}
		if err := l.join(again, time.Now(), time.Second); err != nil {
			t.Errorf("the same agent again: %v", err)
		}
		if l.put(now, &report{}) {
			t.Error("the replaced session may still report")
		}
	})
}

// After a reboot of the host what was to run is started anew, under a new epoch; what was not stays down.
func TestHostReboots(t *testing.T) {
	inWorld(t, 1, []string{"n1"}, func(w *world) {
		t := w.t
		w.template("t")
		c, done := w.client(0)
		defer done()
		onboot := w.running(c, "web", "n1")
		r, err := c.CreateContainer(w.ctx, &vzpb.CreateContainerRequest{OpKey: w.opKey(), Name: "job", SpecJson: spec(func(s *cluster.Spec) { s.OnBoot = false })})
		if err != nil {
			t.Fatal(err)
		}
		job := decodeJSON[cluster.Container](t, r.Json).CTID
		if _, err := c.StartContainer(w.ctx, &vzpb.ContainerOpRequest{OpKey: w.opKey(), Name: job}); err != nil {
			t.Fatal(err)
		}
		w.settle(2 * time.Second)
		n1 := w.agents["n1"]
		w.stop("n1")
		n1.reboot()
		w.settle(time.Second)
		w.start(n1)
		w.settle(3 * time.Second)
		if got := w.container(onboot); got.State != cluster.ContainerRunning || got.Epoch != 2 || got.RunGen != 2 || got.BootID != n1.boot {
			t.Errorf("onboot: %+v", got)
		}
		if got := w.container(job); got.State != cluster.ContainerStopped || got.Want != cluster.WantStopped {
			t.Errorf("not onboot: %+v", got)
		}
		w.settle(time.Minute)
		if got := w.container(onboot); got.Epoch != 2 {
			t.Errorf("started again and again: %+v", got)
		}
	})
}

func TestContainerEndsByItself(t *testing.T) {
	inWorld(t, 1, []string{"n1"}, func(w *world) {
		t := w.t
		w.template("t")
		c, done := w.client(0)
		defer done()
		ctid := w.running(c, "web", "n1")
		n1 := w.agents["n1"]
		n1.do(func() { n1.copies[0].State = string(cluster.CopyStopped) })
		w.settle(2 * time.Second)
		if got := w.container(ctid); got.State != cluster.ContainerStopped || got.Want != cluster.WantStopped || got.Reason != "it ended by itself" {
			t.Fatalf("got %+v", got)
		}
		if _, err := c.StartContainer(w.ctx, &vzpb.ContainerOpRequest{OpKey: w.opKey(), Name: ctid}); err != nil {
			t.Fatal(err)
		}
		w.settle(2 * time.Second)
		if got := w.container(ctid); got.State != cluster.ContainerRunning || got.Reason != "" {
			t.Errorf("started again: %+v", got)
		}
	})
}

func TestStartFails(t *testing.T) {
	inWorld(t, 1, []string{"n1"}, func(w *world) {
		t := w.t
		w.template("t")
		c, done := w.client(0)
		defer done()
		n1 := w.agents["n1"]
		n1.stuck["start"] = true
		r, err := c.CreateContainer(w.ctx, &vzpb.CreateContainerRequest{OpKey: w.opKey(), Name: "web", SpecJson: spec()})
		if err != nil {
			t.Fatal(err)
		}
		ctid := decodeJSON[cluster.Container](t, r.Json).CTID
		start := func() {
			if _, err := c.StartContainer(w.ctx, &vzpb.ContainerOpRequest{OpKey: w.opKey(), Name: ctid}); err != nil {
				t.Fatal(err)
			}
			w.settle(time.Minute)
		}
		start()
		if got := w.container(ctid); got.State != cluster.ContainerStopped || got.Failed != got.RunGen || got.Reason != "no such init" {
			t.Fatalf("got %+v", got)
		}
		n1.do(func() { delete(n1.stuck, "start"); n1.copies[0].Error, n1.copies[0].ErrorGen = "", 0 })
		start()
		if got := w.container(ctid); got.State != cluster.ContainerRunning || got.Failed != 0 || got.Reason != "" {
			t.Errorf("second try: %+v", got)
		}
	})
}

func TestCreateFails(t *testing.T) {
	inWorld(t, 1, []string{"n1"}, func(w *world) {
		t := w.t
		w.template("t")
		c, done := w.client(0)
		defer done()
		n1 := w.agents["n1"]
		n1.do(func() {
			n1.stuck["create"] = true
			n1.failed = map[string]string{"101": "disk full"}
		})
		if _, err := c.CreateContainer(w.ctx, &vzpb.CreateContainerRequest{OpKey: w.opKey(), Name: "web", SpecJson: spec()}); err != nil {
			t.Fatal(err)
		}
		w.settle(2 * time.Second)
		if got := w.container("101"); got.State != cluster.ContainerFailed || got.Reason != "disk full" {
			t.Fatalf("got %+v", got)
		}
		_, err := c.StartContainer(w.ctx, &vzpb.ContainerOpRequest{OpKey: w.opKey(), Name: "web"})
		wantCode(t, "start", err, codes.FailedPrecondition)
		if _, err := c.DestroyContainer(w.ctx, &vzpb.ContainerOpRequest{OpKey: w.opKey(), Name: "web"}); err != nil {
			t.Fatal(err)
		}
		w.settle(2 * time.Second)
		if w.state().Containers().Len() != 0 {
			t.Error("not destroyed")
		}
	})
}

func TestBadReports(t *testing.T) {
	good := func() *vzpb.Report { return &vzpb.Report{Node: "n1", BootId: "b", InfoJson: []byte("{}")} }
	if _, err := decode(good(), time.Now()); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*vzpb.Report){
		"no boot id": func(r *vzpb.Report) { r.BootId = "" },
		"info":       func(r *vzpb.Report) { r.InfoJson = []byte("{") },
		"ctid":       func(r *vzpb.Report) { r.Copies = []*vzpb.CopyReport{{Ctid: "../x"}} },
		"role":       func(r *vzpb.Report) { r.Migrations = []*vzpb.MigrationReport{{Id: "1", Role: "boss"}} },
		"stats": func(r *vzpb.Report) {
			r.Migrations = []*vzpb.MigrationReport{{Id: "1", Role: "source", StatsJson: []byte("x")}}
		},
		"too many": func(r *vzpb.Report) { r.Templates = make([]string, maxReported+1) },
	} {
		r := good()
		edit(r)
		if _, err := decode(r, time.Now()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
