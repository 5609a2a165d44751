package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// moving is migration 7 of container 101 in a phase.
func moving(p cluster.Phase, change ...func(*cluster.Migration)) cluster.Migration {
	t0 := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	m := cluster.Migration{ID: "7", CTID: "101", Source: "n1", Target: "n2", Mode: cluster.ModeAuto, Phase: p, Created: t0, Changed: t0.Add(2500 * time.Millisecond)}
	if p == cluster.PhaseDone {
		m.From.Stages = []cluster.StageTime{{Stage: "freeze", Start: t0.Add(10 * time.Millisecond), Duration: 1500 * time.Microsecond}}
		m.To.Stages = []cluster.StageTime{{Stage: "restore", Start: t0.Add(30 * time.Millisecond), Duration: 20 * time.Millisecond}, {Stage: "reserve", Start: t0}}
		m.Stats = cluster.MigrationStats{RootfsBytes: 3 << 20, RootfsFiles: 12, ImageBytes: 5 << 20, Rounds: 2, Frozen: 41300 * time.Microsecond}
	}
	for _, f := range change {
		f(&m)
	}
	return m
}

func closed(m *cluster.Migration) { m.Closed = true }

func because(r string) func(*cluster.Migration) {
	return func(m *cluster.Migration) { m.Reason = r }
}

func migrateFake(t *testing.T, watch ...any) *fake {
	f := newFake(t).says("Migrate", migrationResp(moving(cluster.PhasePending)), nil)
	f.script(watch...)
	return f
}

func TestMigrate(t *testing.T) {
	f := migrateFake(t, moving(cluster.PhasePending), moving(cluster.PhaseCopy),
		&vzpb.MigrationResponse{Json: mustJSON(moving(cluster.PhaseCopy)), Progress: &vzpb.Progress{What: "files", DoneBytes: 1, TotalBytes: 2}},
		status.Error(codes.Unavailable, "leader killed"), moving(cluster.PhaseSwitch), moving(cluster.PhaseDone), moving(cluster.PhaseDone, closed))
	r := f.run(t, "migrate", "web", "--to", "n2", "--bwlimit", "50M", "--mode", "stopcopy")
	if r.code != 0 {
		t.Fatal(r)
	}
	want := `migration 7: 101 from n1 to n2: pending
migration 7: 101 from n1 to n2: copy
migration 7: 101 from n1 to n2: switch
migration 7: 101 from n1 to n2: done
`
	if r.err != want {
		t.Errorf("stderr:\n%s", r.err)
	}
	table := `container 101 runs on n2
STAGE    NODE       AT     TOOK
reserve  n2     0.0 ms   0.0 ms
freeze   n1    10.0 ms   1.5 ms
restore  n2    30.0 ms  20.0 ms
frozen  41.3 ms
total   2500.0 ms
files   3M in 12 files, 2 rounds, 0B of it under freeze
images  5M
`
	if r.out != table {
		t.Errorf("stdout:\n%s", r.out)
	}
	if req, n := last[*vzpb.MigrateRequest](f); n != 1 || req.Name != "web" || req.To != "n2" || req.Bwlimit != 50<<20 || req.Mode != "stopcopy" || req.OpKey == "" {
		t.Errorf("%v", req)
	}
}

func TestMigrateJSON(t *testing.T) {
	r := migrateFake(t, moving(cluster.PhaseDone, closed)).run(t, "migrate", "web", "--to", "n2", "-j")
	if d := r.doc(t); r.code != 0 || d["phase"] != "done" || d["op"] == nil {
		t.Errorf("%d %v", r.code, d)
	}
	if d := migrateFake(t).run(t, "migrate", "web", "--to", "n2", "-j", "--dry-run").ok(t).doc(t); d["dry_run"] != true {
		t.Errorf("%v", d)
	}
	if d := migrateFake(t).run(t, "migrate", "web", "--to", "n2", "-j", "--detach", "--op-key", "k").ok(t).doc(t); d["detached"] != true || d["op"] != "k" || d["id"] != "7" {
		t.Errorf("%v", d)
	}
}

func TestMigrateAborted(t *testing.T) {
	r := migrateFake(t, moving(cluster.PhaseAborting, because("criu: no")), moving(cluster.PhaseFailed, closed, because("criu: no"))).run(t, "migrate", "web", "--to", "n2", "-j")
	if lines := splitLines(r.err); r.code != 4 || len(lines) != 3 || lines[2] != "error: CONFLICT: migration 7 of 101 to n2 was aborted; the container runs on at n1: criu: no" {
		t.Errorf("%d %q", r.code, r.err)
	}
	d := r.doc(t)
	if det, ok := d["details"].(map[string]any); !ok || det["phase"] != "failed" || d["code"] != "CONFLICT" || d["retryable"] != true {
		t.Errorf("%v", d)
	}
}

func TestMigrateRefused(t *testing.T) {
	for code, want := range map[codes.Code]struct {
		exit int
		name string
	}{codes.NotFound: {3, "NOT_FOUND"}, codes.FailedPrecondition: {4, "CONFLICT"}, codes.InvalidArgument: {2, "USAGE"}} {
		newFake(t).says("Migrate", nil, status.Error(code, "why not")).run(t, "migrate", "101", "--to", "n2").fails(t, want.exit, want.name, "why not")
	}
}

func TestMigrateDetached(t *testing.T) {
	f := migrateFake(t, moving(cluster.PhaseCopy))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-f.watching; cancel() }()
	r := runApp(t, ctx, []string{f.addr}, "migrate", "web", "--to", "n2", "--op-key", "k")
	if lines := splitLines(r.err); r.code != 7 || !strings.HasPrefix(lines[len(lines)-1], "error: UNKNOWN_OUTCOME: detached, migration 7 goes on") || !strings.Contains(r.err, "job wait k") {
		t.Errorf("%d %q", r.code, r.err)
	}
}

// TestMigrateList: one after the other, each with its own key; one that can't be moved doesn't stop the others.
func TestMigrateList(t *testing.T) {
	f := newFake(t)
	f.answer["Migrate"] = func(r proto.Message) (proto.Message, error) {
		req := r.(*vzpb.MigrateRequest)
		if req.Name == "102" {
			return nil, status.Error(codes.FailedPrecondition, "102 does not run")
		}
		return migrationResp(moving(cluster.PhasePending, func(m *cluster.Migration) { m.CTID = req.Name })), nil
	}
	f.script(moving(cluster.PhaseDone, closed), rest{}, moving(cluster.PhaseDone, closed))
	r := f.run(t, "migrate", "101,102,103", "--to", "n2", "-j", "--op-key", "k")
	lines := splitLines(r.err)
	if r.code != 8 || lines[len(lines)-1] != "error: PARTIAL: 2 of 3 containers were moved; 102: CONFLICT: 102 does not run" {
		t.Errorf("%d %q", r.code, r.err)
	}
	det := r.doc(t)["details"].(map[string]any)
	if len(det["migrations"].([]any)) != 2 || det["failed"].([]any)[0].(map[string]any)["op"] != "k.2" {
		t.Errorf("%v", det)
	}
	f.script(moving(cluster.PhaseDone, closed), rest{}, moving(cluster.PhaseDone, closed))
	r = f.run(t, "migrate", "101,103", "--to", "n2", "-j")
	if d := r.doc(t); r.code != 0 || len(d["migrations"].([]any)) != 2 {
		t.Errorf("%d %v", r.code, d)
	}
	f.run(t, "migrate", "102,102", "--to", "n2").fails(t, 4, "CONFLICT", "0 of 2")
}

func historyFake(t *testing.T) *fake {
	return newFake(t).says("ListMigrations", &vzpb.ListMigrationsResponse{Migrations: []*vzpb.MigrationResponse{
		migrationResp(moving(cluster.PhaseFailed, closed, because("target offline"), func(m *cluster.Migration) { m.ID = "10" })), migrationResp(moving(cluster.PhaseDone, closed)),
	}}, nil)
}

func TestHistory(t *testing.T) {
	f := historyFake(t)
	r := f.run(t, "history", "web", "-o", "id,ctid,from,to,phase,frozen,moved,took,reason").ok(t)
	want := `ID  CTID  FROM  TO  PHASE    FROZEN  MOVED       TOOK  REASON
 7   101  n1    n2  done    41.3 ms     8M  2500.0 ms  -
10   101  n1    n2  failed        -     0B  2500.0 ms  target offline
`
	if r.out != want {
		t.Errorf("\n%s", r.out)
	}
	if req, _ := last[*vzpb.ListMigrationsRequest](f); req.Name != "web" || !req.All {
		t.Errorf("%v", req)
	}
	f.run(t, "migrations").ok(t)
	if req, _ := last[*vzpb.ListMigrationsRequest](f); req.Name != "" || req.All {
		t.Errorf("%v", req)
	}
	if r := f.run(t, "migrations", "10", "-H", "-o", "id,phase").ok(t); r.out != "10  failed\n" {
		t.Errorf("%q", r.out)
	}
	f.run(t, "migrations", "11").fails(t, 3, "NOT_FOUND", "11")
	var docs []migrationDoc
	f.run(t, "history", "-j").ok(t).into(t, &docs)
	if len(docs) != 2 || docs[0].ID != "7" {
		t.Errorf("%v", docs)
	}
}

func opFake(t *testing.T, method, object string) *fake {
	return newFake(t).says("GetOperation", &vzpb.GetOperationResponse{Json: mustJSON(cluster.Operation{Key: "k", Method: method, Object: object, Created: time.Now()})}, nil)
}

func TestJobShow(t *testing.T) {
	f := opFake(t, "/vz.v1.Cluster/Migrate", "7").says("ListMigrations", &vzpb.ListMigrationsResponse{Migrations: []*vzpb.MigrationResponse{migrationResp(moving(cluster.PhaseCopy))}}, nil)
	if r := f.run(t, "job", "show", "k").ok(t); !strings.Contains(r.out, "from n1 to n2: copy") || !strings.Contains(r.out, "Migrate\n") {
		t.Errorf("%s", r.out)
	}
	if d := f.run(t, "job", "show", "k", "-j").ok(t).doc(t); d["key"] != "k" || d["migration"] == nil {
		t.Errorf("%v", d)
	}
	if r := opFake(t, "StartContainer", "101").has(web()).run(t, "job", "show", "k").ok(t); !strings.Contains(r.out, "container 101 (web) is running on n1") {
		t.Errorf("%s", r.out)
	}
	if r := opFake(t, "DestroyContainer", "101").has().run(t, "job", "show", "k").ok(t); !strings.Contains(r.out, "gone") {
		t.Errorf("%s", r.out)
	}
	newFake(t).says("GetOperation", nil, status.Error(codes.NotFound, "no operation k")).run(t, "job", "show", "k").fails(t, 3, "NOT_FOUND", "no operation k")
}

func TestJobWait(t *testing.T) {
	f := opFake(t, "/vz.v1.Cluster/Migrate", "7")
	f.script(moving(cluster.PhaseDone, closed))
	if r := f.run(t, "job", "wait", "k"); r.code != 0 || !strings.Contains(r.out, "container 101 runs on n2") {
		t.Errorf("%v", r)
	}
	f = opFake(t, "StartContainer", "101").has(web(func(c *cluster.Container) { c.State = cluster.ContainerStopped }))
	f.script(web())
	if r := f.run(t, "job", "wait", "k").ok(t); !strings.Contains(r.out, "runs on n1") {
		t.Errorf("%v", r)
	}
	f = opFake(t, "StopContainer", "101").has(web(wants(cluster.WantStopped, 5)))
	f.script(web(wants(cluster.WantStopped, 5), in(cluster.ContainerStopped)))
	f.run(t, "job", "wait", "k").ok(t)
	f = opFake(t, "CreateContainer", "101")
	f.script(web(in(cluster.ContainerStopped)))
	f.run(t, "job", "wait", "k").ok(t)
	opFake(t, "DestroyContainer", "101").has().run(t, "job", "wait", "k").ok(t)
	opFake(t, "CordonNode", "n1").run(t, "job", "wait", "k").ok(t)
	f = opFake(t, "StartContainer", "101").has(web())
	f.run(t, "job", "wait", "k", "--wait", "100ms").fails(t, 7, "UNKNOWN_OUTCOME", "not finished")
}
