package master

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

func TestLifeOfAContainer(t *testing.T) {
	inWorld(t, 1, []string{"n1", "n2"}, func(w *world) {
		t := w.t
		w.template("t")
		c, done := w.client(0)
		defer done()
		ctid := w.running(c, "web", "")
		ct := w.container(ctid)
		if ct.CTID != "101" || ct.Name != "web" || ct.Node != "n1" || ct.IDBase != 1000000 || ct.Digest != "d-t" || ct.Spec.Hostname != "web" ||
			!strings.HasPrefix(ct.Spec.Net.MAC, "02:76:7a:") {
			t.Errorf("record: %+v", ct)
		}
		// The second goes where more room is left, with numbers of its own.
		second := w.container(w.running(c, "db", ""))
		if second.Node != "n2" || second.CTID == ctid || second.IDBase == ct.IDBase || second.Spec.Net.MAC == ct.Spec.Net.MAC {
			t.Errorf("second: %+v", second)
		}
		_, err := c.DestroyContainer(w.ctx, &vzpb.ContainerOpRequest{OpKey: w.opKey(), Name: "web"})
		wantCode(t, "destroy while running", err, codes.FailedPrecondition)
		if _, err := c.StopContainer(w.ctx, &vzpb.ContainerOpRequest{OpKey: w.opKey(), Name: "web"}); err != nil {
			t.Fatal(err)
		}
		w.settle(2 * time.Second)
		if got := w.container(ctid); got.State != cluster.ContainerStopped || got.Reason != "" {
			t.Fatalf("after stop: %+v", got)
		}
		if _, err := c.DestroyContainer(w.ctx, &vzpb.ContainerOpRequest{OpKey: w.opKey(), Name: "web"}); err != nil {
			t.Fatal(err)
		}
		w.settle(2 * time.Second)
		if _, ok := w.state().Containers().Get(ctid); ok || len(w.agents["n1"].states()) != 0 {
			t.Fatalf("not destroyed: %v", w.agents["n1"].states())
		}
		// The number is not given again by itself; asked for by name it is, above all epochs of the old one.
		if third := w.container(w.running(c, "third", "")); third.CTID != "103" {
			t.Errorf("third has CTID %s", third.CTID)
		}
		again := w.container(w.running(c, ctid, "n1"))
		if again.CTID != ctid || again.Epoch <= ct.Epoch {
			t.Errorf("again: %+v", again)
		}
	})
}

func TestBadRequests(t *testing.T) {
	inWorld(t, 1, []string{"n1", "n2"}, func(w *world) {
		t := w.t
		w.template("t")
		c, done := w.client(0)
		defer done()
		w.running(c, "web", "n1")
		before := w.state().Rev()
		create := func(name, on string, edit func(*cluster.Spec)) error {
			_, err := c.CreateContainer(w.ctx, &vzpb.CreateContainerRequest{OpKey: w.opKey(), Name: name, On: on, SpecJson: spec(edit)})
			return err
		}
		asIs := func(*cluster.Spec) {}
		op := func(name string) *vzpb.ContainerOpRequest {
			return &vzpb.ContainerOpRequest{OpKey: w.opKey(), Name: name}
		}
		for _, tc := range []struct {
			what string
			err  error
			want codes.Code
			says string
		}{
			{"name ../x", create("../x", "", asIs), codes.InvalidArgument, "not a container name"},
			{"empty name", create("", "", asIs), codes.InvalidArgument, "not a container name"},
			{"CTID 5", create("5", "", asIs), codes.InvalidArgument, "not a container number"},
			{"same name", create("web", "", asIs), codes.AlreadyExists, "101 (web) exists"},
			{"same CTID", create("101", "", asIs), codes.AlreadyExists, "exists"},
			{"unknown template", create("x", "", func(s *cluster.Spec) { s.Template = "nope" }), codes.NotFound, `template "nope"`},
			{"unknown node", create("x", "n9", asIs), codes.NotFound, `node "n9"`},
			{"no room", create("x", "", func(s *cluster.Spec) { s.Resources.MemoryBytes = 5 << 30 }), codes.FailedPrecondition, "2 nodes: memory; best rejected: n2, 1024 MiB memory short"},
			{"no room there", create("x", "n1", func(s *cluster.Spec) { s.Resources.MemoryBytes = 4 << 30 }), codes.FailedPrecondition, "node n1: not enough room: 1024 MiB memory short"},
			{"tiny ram", create("x", "", func(s *cluster.Spec) { s.Resources.MemoryBytes = 1 }), codes.InvalidArgument, "ram"},
			{"no key", func() error {
				_, err := c.CreateContainer(w.ctx, &vzpb.CreateContainerRequest{Name: "x", SpecJson: spec()})
				return err
			}(), codes.InvalidArgument, "operation key"},
			{"not JSON", func() error {
				_, err := c.CreateContainer(w.ctx, &vzpb.CreateContainerRequest{OpKey: "k", Name: "x", SpecJson: []byte("{")})
				return err
			}(), codes.InvalidArgument, "spec"},
			{"start unknown", func() error { _, err := c.StartContainer(w.ctx, op("nope")); return err }(), codes.NotFound, "nope"},
			{"list unknown", func() error {
				_, err := c.ListContainers(w.ctx, &vzpb.ListContainersRequest{Name: "999"})
				return err
			}(), codes.NotFound, "999"},
			{"list unknown node", func() error {
				_, err := c.ListNodes(w.ctx, &vzpb.ListNodesRequest{Name: "n9"})
				return err
			}(), codes.NotFound, "n9"},
			{"set nothing", func() error {
				_, err := c.SetContainer(w.ctx, &vzpb.SetContainerRequest{OpKey: w.opKey(), Name: "web", SpecJson: spec()})
				return err
			}(), codes.InvalidArgument, "parameters"},
			{"set too much", func() error {
				_, err := c.SetContainer(w.ctx, &vzpb.SetContainerRequest{OpKey: w.opKey(), Name: "web", Fields: []string{cluster.FieldMemory},
					SpecJson: spec(func(s *cluster.Spec) { s.Resources.MemoryBytes = 5 << 30 })})
				return err
			}(), codes.FailedPrecondition, "1024 MiB memory short"},
			{"unknown operation", func() error {
				_, err := c.GetOperation(w.ctx, &vzpb.GetOperationRequest{OpKey: "never"})
				return err
			}(), codes.NotFound, "never"},
		} {
			wantCode(t, tc.what, tc.err, tc.want)
			if msg := status.Convert(tc.err).Message(); !strings.Contains(msg, tc.says) || strings.Contains(msg, "\n") {
				t.Errorf("%s: %q does not say %q in one line", tc.what, msg, tc.says)
			}
		}
		if after := w.state().Rev(); after != before {
			t.Errorf("bad requests moved the state from revision %d to %d", before, after)
		}
	})
}

func TestOperationKeys(t *testing.T) {
	inWorld(t, 1, []string{"n1"}, func(w *world) {
		t := w.t
		w.template("t")
		c, done := w.client(0)
		defer done()
		req := &vzpb.CreateContainerRequest{OpKey: "k1", Name: "web", SpecJson: spec()}
		first, err := c.CreateContainer(w.ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		second, err := c.CreateContainer(w.ctx, req)
		if err != nil || decodeJSON[cluster.Container](t, second.Json).CTID != decodeJSON[cluster.Container](t, first.Json).CTID {
			t.Errorf("the same operation again: %v", err)
		}
		if n := w.state().Containers().Len(); n != 1 {
			t.Errorf("%d containers", n)
		}
		_, err = c.CreateContainer(w.ctx, &vzpb.CreateContainerRequest{OpKey: "k1", Name: "other", SpecJson: spec()})
		wantCode(t, "the same key with another request", err, codes.AlreadyExists)
		op, err := c.GetOperation(w.ctx, &vzpb.GetOperationRequest{OpKey: "k1"})
		if err != nil || decodeJSON[cluster.Operation](t, op.Json).Object != "101" {
			t.Errorf("GetOperation: %v %s", err, op.GetJson())
		}
		w.settle(25 * time.Hour)
		if _, ok := w.state().Operations().Get("k1"); ok {
			t.Error("the operation is remembered for ever")
		}
	})
}

func TestDryRunChangesNothing(t *testing.T) {
	inWorld(t, 1, []string{"n1", "n2"}, func(w *world) {
		t := w.t
		w.template("t")
		c, done := w.client(0)
		defer done()
		ctid := w.running(c, "web", "n1")
		before := w.state().Rev()
		r, err := c.CreateContainer(w.ctx, &vzpb.CreateContainerRequest{OpKey: "k", Name: "x", SpecJson: spec(), DryRun: true})
		if err != nil || decodeJSON[cluster.Container](t, r.Json).Node != "n2" {
			t.Errorf("create: %v %s", err, r.GetJson())
		}
		if _, err := c.DestroyContainer(w.ctx, &vzpb.ContainerOpRequest{OpKey: "k", Name: ctid, Force: true, DryRun: true}); err != nil {
			t.Errorf("destroy: %v", err)
		}
		m, err := c.Migrate(w.ctx, &vzpb.MigrateRequest{OpKey: "k", Name: ctid, To: "n2", DryRun: true})
		if err != nil || decodeJSON[cluster.Migration](t, m.Json).Source != "n1" {
			t.Errorf("migrate: %v %s", err, m.GetJson())
		}
		if after := w.state().Rev(); after != before {
			t.Errorf("dry runs moved the state from revision %d to %d", before, after)
		}
	})
}

func TestAddressesAreUnique(t *testing.T) {
	inWorld(t, 1, []string{"n1"}, func(w *world) {
		t := w.t
		w.template("t")
		c, done := w.client(0)
		defer done()
		with := func(addr string) []byte {
			return spec(func(s *cluster.Spec) { s.Net.Addresses = []string{addr} })
		}
		for name, addr := range map[string]string{"a": "10.0.0.5/24", "b": "10.0.0.6/24"} {
			if _, err := c.CreateContainer(w.ctx, &vzpb.CreateContainerRequest{OpKey: w.opKey(), Name: name, SpecJson: with(addr)}); err != nil {
				t.Fatal(err)
			}
		}
		_, err := c.CreateContainer(w.ctx, &vzpb.CreateContainerRequest{OpKey: w.opKey(), Name: "c", SpecJson: with("10.0.0.5/16")})
		wantCode(t, "create with a used address", err, codes.FailedPrecondition)
		w.settle(2 * time.Second)
		set := func(addr string) error {
			_, err := c.SetContainer(w.ctx, &vzpb.SetContainerRequest{OpKey: w.opKey(), Name: "a", SpecJson: with(addr), Fields: []string{cluster.FieldAddresses}})
			return err
		}
		wantCode(t, "set to a used address", set("10.0.0.6/24"), codes.FailedPrecondition)
		if err := set("10.0.0.7/24"); err != nil {
			t.Error(err)
		}
	})
}

func TestCordon(t *testing.T) {
	inWorld(t, 1, []string{"n1", "n2"}, func(w *world) {
		t := w.t
		w.template("t")
		c, done := w.client(0)
		defer done()
		if _, err := c.CordonNode(w.ctx, &vzpb.CordonNodeRequest{OpKey: w.opKey(), Name: "n1", Cordon: true, Reason: "new disk"}); err != nil {
			t.Fatal(err)
		}
		if got := w.container(w.running(c, "web", "")); got.Node != "n2" {
			t.Errorf("placed on %s", got.Node)
		}
		_, err := c.CreateContainer(w.ctx, &vzpb.CreateContainerRequest{OpKey: w.opKey(), Name: "x", On: "n1", SpecJson: spec()})
		wantCode(t, "create on a cordoned node", err, codes.FailedPrecondition)
		_, err = c.Migrate(w.ctx, &vzpb.MigrateRequest{OpKey: w.opKey(), Name: "web", To: "n1"})
		wantCode(t, "migrate to a cordoned node", err, codes.FailedPrecondition)
		_, err = c.CordonNode(w.ctx, &vzpb.CordonNodeRequest{OpKey: w.opKey(), Name: "n9", Cordon: true})
		wantCode(t, "cordon an unknown node", err, codes.NotFound)
	})
}

// Whatever goes through a follower does the same as at the leader, unary and streaming; without a leader the answer is clear.
func TestForwarding(t *testing.T) {
	inWorld(t, 3, []string{"n1", "n2"}, func(w *world) {
		t := w.t
		w.template("t")
		for i := range 3 {
			c, done := w.client((w.log.Leader() + i) % 3)
			defer done()
			ctid := w.running(c, "web"+string(rune('a'+i)), "n1")
			watch, err := c.WatchContainer(w.ctx, &vzpb.WatchContainerRequest{Name: ctid})
			if err != nil {
				t.Fatal(err)
			}
			if r, err := watch.Recv(); err != nil || decodeJSON[cluster.Container](t, r.Json).CTID != ctid {
				t.Errorf("watch through master %d: %v", i, err)
			}
			ex, err := c.Exec(w.ctx)
			if err != nil {
				t.Fatal(err)
			}
			_ = ex.Send(&vzpb.ExecRequest{Part: &vzpb.ExecRequest_Start_{Start: &vzpb.ExecRequest_Start{Name: ctid, Argv: []string{"cat"}}}})
			_ = ex.Send(&vzpb.ExecRequest{Part: &vzpb.ExecRequest_Stdin{Stdin: []byte("hello")}})
			_ = ex.Send(&vzpb.ExecRequest{Part: &vzpb.ExecRequest_StdinEof{StdinEof: true}})
			out, code := "", int32(-1)
			for {
				p, err := ex.Recv()
				if err != nil {
					break
				}
				out += string(p.GetStdout())
				if e, ok := p.Part.(*vzpb.ExecResponse_ExitCode); ok {
					code = e.ExitCode
				}
			}
			if out != "n1 "+ctid+":hello" || code != 7 {
				t.Errorf("exec through master %d: %q, exit code %d", i, out, code)
			}
		}
		leader := w.log.Leader()
		w.log.Halt()
		w.settle(time.Second)
		c, done := w.client((leader + 1) % 3)
		defer done()
		_, err := c.Status(w.ctx, &vzpb.StatusRequest{})
		wantCode(t, "status without a leader", err, codes.Unavailable)
		if !strings.Contains(status.Convert(err).Message(), "no leader") {
			t.Errorf("unclear: %v", err)
		}
		w.log.Elect((leader + 2) % 3)
		w.settle(time.Second)
		st, err := c.Status(w.ctx, &vzpb.StatusRequest{})
		if err != nil || decodeJSON[cluster.Status](t, st.Json).Containers["running"] != 3 {
			t.Errorf("after the election: %v %s", err, st.GetJson())
		}
	})
}

func TestImportTemplate(t *testing.T) {
	inWorld(t, 1, []string{"n1", "n2"}, func(w *world) {
		t := w.t
		c, done := w.client(0)
		defer done()
		put := func(name, content string, size uint64) error {
			s, err := c.ImportTemplate(w.ctx)
			if err != nil {
				t.Fatal(err)
			}
			_ = s.Send(&vzpb.ImportTemplateRequest{Part: &vzpb.ImportTemplateRequest_Header_{Header: &vzpb.ImportTemplateRequest_Header{OpKey: w.opKey(), Name: name, Size: size}}})
			_ = s.Send(&vzpb.ImportTemplateRequest{Part: &vzpb.ImportTemplateRequest_Data{Data: []byte(content)}})
			_, err = s.CloseAndRecv()
			return err
		}
		if err := put("t", "abc", 3); err != nil {
			t.Fatal(err)
		}
		w.settle(2 * time.Second)
		tm, _ := w.state().Templates().Get("t")
		for _, a := range w.agents {
			if len(a.templates) != 1 || a.templates[0] != tm.Digest {
				t.Errorf("%s has %v, want %s", a.name, a.templates, tm.Digest)
			}
		}
		if err := put("t", "abc", 3); err != nil {
			t.Errorf("the same content again: %v", err)
		}
		wantCode(t, "other content", put("t", "abd", 3), codes.AlreadyExists)
		wantCode(t, "short", put("u", "abc", 4), codes.InvalidArgument)
		wantCode(t, "long", put("u", "abc", 2), codes.InvalidArgument)
		wantCode(t, "name", put("../u", "abc", 3), codes.InvalidArgument)
		for _, a := range w.agents {
			a.putTemplate = func(size uint64, digest string) (*vzpb.PutTemplateResponse, error) {
				return nil, status.Error(codes.InvalidArgument, "not a tar")
			}
		}
		err := put("u", "abc", 3)
		wantCode(t, "not a tar", err, codes.InvalidArgument)
		if !strings.Contains(err.Error(), "not a tar") {
			t.Errorf("unclear: %v", err)
		}
		for _, a := range w.agents {
			a.putTemplate = func(size uint64, digest string) (*vzpb.PutTemplateResponse, error) {
				return &vzpb.PutTemplateResponse{Digest: "ff" + digest[2:], Size: size}, nil
			}
		}
		wantCode(t, "damaged on the way", put("u", "abc", 3), codes.DataLoss)
		if w.state().Templates().Len() != 1 {
			t.Error("a refused template is in the records")
		}
	})
}

// An outcome that is not known is said to be so, and the key tells it later.
func TestUnknownOutcome(t *testing.T) {
	inWorld(t, 1, []string{"n1"}, func(w *world) {
		t := w.t
		w.template("t")
		w.settle(time.Second)
		c, done := w.client(0)
		defer done()
		w.log.Inject(0, memlogUnknownDone)
		req := &vzpb.CreateContainerRequest{OpKey: "k", Name: "web", SpecJson: spec()}
		_, err := c.CreateContainer(w.ctx, req)
		wantCode(t, "create", err, codes.Unknown)
		if _, err := c.GetOperation(w.ctx, &vzpb.GetOperationRequest{OpKey: "k"}); err != nil {
			t.Errorf("by its key: %v", err)
		}
		if _, err := c.CreateContainer(w.ctx, req); err != nil {
			t.Errorf("again: %v", err)
		}
		if n := w.state().Containers().Len(); n != 1 {
			t.Errorf("%d containers", n)
		}
	})
}

func TestGarbageKeepsWhatIsNeeded(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		t := w.t
		const n = keepMigrations + 60
		for i := 0; i < n; i += 50 {
			if _, err := w.leader().store.Update(w.ctx, func(tx *store.Tx) error {
				for j := i; j < min(i+50, n); j++ {
					m := cluster.Migration{ID: string(rune('a'+j/1000)) + time.Duration(j).String(), Closed: true, Phase: cluster.PhaseDone, Changed: time.Now().Add(time.Duration(j) * time.Second)}
					if m.From.Step = cluster.SourceDestroyed; j < 10 {
						m.From.Step = cluster.SourceShipped // its frozen copy may still turn up
					}
					tx.Migrations().Put(m)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		w.settle(time.Hour)
		if got := w.state().Migrations().Len(); got != keepMigrations+10 {
			t.Errorf("%d migrations are left, want %d", got, keepMigrations+10)
		}
	})
}
