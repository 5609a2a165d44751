package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

func TestCreate(t *testing.T) {
	f := newFake(t).says("CreateContainer", containerResp(web(in(cluster.ContainerCreating))), nil)
	f.script(web(in(cluster.ContainerCreating)), status.Error(codes.Unavailable, "leader gone"), web(in(cluster.ContainerCreating)), web(in(cluster.ContainerStopped)))
	r := f.run(t, "create", "web", "--ostemplate", "debian", "--on", "n1", "--ram", "1.5G", "--swap", "1G", "--cpus", "0.5", "--cpulimit", "50%", "--cpuunits", "2000",
		"--diskspace", "1048576:2097152", "--numproc", "100:200", "--ipadd", "10.0.0.5/24", "--ipadd", "fd00::5/64", "--hostname", "a.b", "--nameserver", "10.0.0.1",
		"--gateway", "10.0.0.1", "--onboot", "yes", "--privileged", "--init", "/bin/init -x", "--bridge", "br1").ok(t)
	if r.out != "container 101 (web) was made on n1\n" {
		t.Errorf("%q", r.out)
	}
	req, n := last[*vzpb.CreateContainerRequest](f)
	var spec cluster.Spec
	if err := json.Unmarshal(req.SpecJson, &spec); err != nil || n != 1 {
		t.Fatal(err, n)
	}
	want := cluster.Spec{
		Template: "debian", Hostname: "a.b", Resources: cluster.Resources{CPUMilli: 500, MemoryBytes: 3 << 29, DiskBytes: 2 << 30}, SwapBytes: 1 << 30,
		CPUUnits: 2000, CPULimit: 50, NumProc: 200, Privileged: true, OnBoot: true, Init: []string{"/bin/init", "-x"},
		Net: cluster.Network{Bridge: "br1", Addresses: []string{"10.0.0.5/24", "fd00::5/64"}, Gateway: "10.0.0.1", Nameserver: []string{"10.0.0.1"}},
	}
	if !reflect.DeepEqual(spec, want) || req.Name != "web" || req.On != "n1" || req.DryRun || len(req.OpKey) != 36 {
		t.Errorf("request %v\n%+v", req, spec)
	}
	if _, n := last[*vzpb.WatchContainerRequest](f); n != 2 {
		t.Errorf("%d watches, want a second one after the first broke", n)
	}
}

func TestCreateEnds(t *testing.T) {
	creating := web(in(cluster.ContainerCreating))
	base := func() *fake { return newFake(t).says("CreateContainer", containerResp(creating), nil) }
	args := []string{"create", "web", "--ostemplate", "debian"}

	f := base()
	f.script(web(in(cluster.ContainerFailed), func(c *cluster.Container) { c.Reason = "disk full" }))
	f.run(t, args...).fails(t, 1, "INTERNAL", "disk full", "destroy 101")

	f = base()
	if d := f.run(t, append(args, "--dry-run", "-j")...).ok(t).doc(t); d["dry_run"] != true || d["node"] != "n1" {
		t.Errorf("%v", d)
	}
	if req, _ := last[*vzpb.CreateContainerRequest](f); !req.DryRun {
		t.Error("--dry-run was not passed on")
	}
	f = base()
	if d := f.run(t, append(args, "--detach", "-j", "--op-key", "k1")...).ok(t).doc(t); d["detached"] != true || d["op"] != "k1" {
		t.Errorf("%v", d)
	}
	if _, n := last[*vzpb.WatchContainerRequest](f); n != 0 {
		t.Error("watched although detached")
	}
	f = newFake(t).says("CreateContainer", nil, status.Error(codes.FailedPrecondition, "no room: 3 nodes: memory"))
	f.run(t, args...).fails(t, 4, "CONFLICT", "no room")
}

func TestCreateStart(t *testing.T) {
	stopped := web(in(cluster.ContainerStopped))
	f := newFake(t).says("CreateContainer", containerResp(stopped), nil).says("StartContainer", containerResp(web(wants(cluster.WantRunning, 6), in(cluster.ContainerRunning))), nil)
	f.script(stopped, rest{}, web(wants(cluster.WantRunning, 6)))
	if d := f.run(t, "create", "web", "--ostemplate", "debian", "--start", "-j", "--op-key", "k").ok(t).doc(t); d["state"] != "running" {
		t.Errorf("%v", d)
	}
	if req, _ := last[*vzpb.ContainerOpRequest](f); req.OpKey != "k.start" || req.Name != "101" {
		t.Errorf("%v", req)
	}
	f = newFake(t).says("CreateContainer", containerResp(stopped), nil).says("StartContainer", nil, status.Error(codes.FailedPrecondition, "cordoned"))
	f.script(stopped)
	f.run(t, "create", "web", "--ostemplate", "debian", "--start").fails(t, 8, "PARTIAL", "was made on n1 but not started", "cordoned")
}

func TestStartStop(t *testing.T) {
	ordered := web(wants(cluster.WantRunning, 6), func(c *cluster.Container) { c.State = cluster.ContainerStopped })
	f := newFake(t).says("StartContainer", containerResp(ordered), nil)
	f.script(web(), ordered, web(wants(cluster.WantRunning, 6))) // the first is older than the order
	if r := f.run(t, "start", "web").ok(t); r.out != "container 101 (web) runs on n1\n" {
		t.Errorf("%q", r.out)
	}
	f = newFake(t).says("StartContainer", containerResp(ordered), nil)
	f.script(web(wants(cluster.WantRunning, 6), func(c *cluster.Container) {
		c.State, c.Failed, c.Reason = cluster.ContainerStopped, 6, "no /sbin/init"
	}))
	f.run(t, "start", "web").fails(t, 4, "CONFLICT", "no /sbin/init")

	stopping := web(wants(cluster.WantStopped, 6))
	f = newFake(t).says("StopContainer", containerResp(stopping), nil)
	f.script(stopping, web(wants(cluster.WantStopped, 6), func(c *cluster.Container) { c.State = cluster.ContainerStopped }))
	if d := f.run(t, "stop", "web", "--fast", "--stop-timeout", "5s", "-j").ok(t).doc(t); d["state"] != "stopped" || d["op"] == nil {
		t.Errorf("%v", d)
	}
	if req, _ := last[*vzpb.ContainerOpRequest](f); !req.Force || req.TimeoutNs != 5e9 {
		t.Errorf("%v", req)
	}
	for _, verb := range []string{"start", "stop", "destroy"} {
		method := map[string]string{"start": "StartContainer", "stop": "StopContainer", "destroy": "DestroyContainer"}[verb]
		f := newFake(t).says(method, containerResp(web()), nil)
		if r := f.run(t, verb, "web", "--dry-run").ok(t); !strings.Contains(r.out, "nothing was changed") {
			t.Errorf("%s: %q", verb, r.out)
		}
		if req, _ := last[*vzpb.ContainerOpRequest](f); !req.DryRun {
			t.Errorf("%s: --dry-run was not passed on", verb)
		}
		newFake(t).says(method, nil, status.Error(codes.NotFound, "no container nope")).run(t, verb, "nope").fails(t, 3, "NOT_FOUND")
	}
}

// TestRetry: every attempt of one invocation carries the same key, and two invocations differ.
func TestRetry(t *testing.T) {
	one, two := newFake(t), newFake(t)
	one.says("StartContainer", nil, status.Error(codes.Unavailable, "no leader"))
	n := 0
	two.answer["StartContainer"] = func(proto.Message) (proto.Message, error) {
		if n++; n == 1 {
			return nil, status.Error(codes.Unknown, "leadership lost while committing")
		}
		return containerResp(web()), nil
	}
	for range 2 {
		if r := runApp(t, t.Context(), []string{one.addr, two.addr}, "start", "web", "--detach"); r.code != 0 {
			t.Fatal(r)
		}
	}
	keys := map[string]int{}
	for _, f := range []*fake{one, two} {
		for _, r := range f.requests {
			keys[r.(*vzpb.ContainerOpRequest).OpKey]++
		}
	}
	// The first invocation: one, two (unknown), one, two. The second: one, two.
	if len(keys) != 2 || len(one.requests)+len(two.requests) != 6 {
		t.Errorf("keys %v", keys)
	}
}

func TestWaitEnds(t *testing.T) {
	ordered := containerResp(web(wants(cluster.WantRunning, 6)))
	stuck := web(wants(cluster.WantRunning, 6), func(c *cluster.Container) { c.State = cluster.ContainerStopped })

	f := newFake(t).says("StartContainer", ordered, nil)
	f.script(stuck)
	f.run(t, "start", "web", "--wait", "200ms", "--op-key", "k").fails(t, 7, "UNKNOWN_OUTCOME", "not finished after 200ms", "job wait k")

	// Ctrl-C detaches.
	f = newFake(t).says("StartContainer", ordered, nil)
	f.script(stuck)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-f.watching; cancel() }()
	r := runApp(t, ctx, []string{f.addr}, "start", "web", "-j", "--op-key", "k")
	r.fails(t, 7, "UNKNOWN_OUTCOME", "detached", "goes on", "job wait k")
	if d := r.doc(t); d["op"] != "k" || d["retryable"] != true {
		t.Errorf("%v", d)
	}

	// The masters vanish after they took the order.
	f = newFake(t).says("StartContainer", ordered, nil)
	f.script(slices.Repeat([]any{status.Error(codes.Unavailable, "no leader")}, 100)...)
	f.run(t, "start", "web", "--timeout", "2s", "--op-key", "k").fails(t, 7, "UNKNOWN_OUTCOME", "was accepted", "no leader", "job wait k")
}

func TestRestart(t *testing.T) {
	f := newFake(t).has(web())
	f.says("StopContainer", containerResp(web(wants(cluster.WantStopped, 6))), nil).says("StartContainer", containerResp(web(wants(cluster.WantRunning, 7))), nil)
	f.script(web(wants(cluster.WantStopped, 6), in(cluster.ContainerStopped)), rest{}, web(wants(cluster.WantRunning, 7)))
	f.run(t, "restart", "web").ok(t)
	f = newFake(t).has(web()).says("StopContainer", containerResp(web(wants(cluster.WantStopped, 6))), nil).says("StartContainer", nil, status.Error(codes.Internal, "boom"))
	f.script(web(wants(cluster.WantStopped, 6), in(cluster.ContainerStopped)))
	f.run(t, "restart", "web").fails(t, 8, "PARTIAL", "stopped but not started", "boom")
	f = newFake(t).has(web(in(cluster.ContainerStopped))).says("StartContainer", containerResp(web(wants(cluster.WantRunning, 7))), nil)
	f.script(web(wants(cluster.WantRunning, 7)))
	f.run(t, "restart", "web").ok(t)
}

func TestDestroy(t *testing.T) {
	going := web(func(c *cluster.Container) { c.State = cluster.ContainerDestroying })
	f := newFake(t).says("DestroyContainer", containerResp(going), nil)
	f.script(going, status.Error(codes.NotFound, "no container 101"))
	if r := f.run(t, "destroy", "web", "--force").ok(t); r.out != "container 101 (web) is gone\n" {
		t.Errorf("%q", r.out)
	}
	// The answer to the first attempt was lost, the second finds nothing any more.
	f = opFake(t, "DestroyContainer", "101").says("DestroyContainer", nil, status.Error(codes.NotFound, "no container web"))
	f.run(t, "destroy", "web", "--yes").ok(t)
	f = newFake(t).says("GetOperation", nil, status.Error(codes.NotFound, "no operation")).says("DestroyContainer", nil, status.Error(codes.NotFound, "no container web"))
	f.run(t, "destroy", "web").fails(t, 3, "NOT_FOUND", "no container web")
	// A new container with the same number is not the old one.
	f = newFake(t).says("DestroyContainer", containerResp(going), nil)
	f.script(web(func(c *cluster.Container) { c.Created = c.Created.AddDate(0, 0, 1) }))
	f.run(t, "delete", "web").ok(t)
}

func TestSet(t *testing.T) {
	f := newFake(t).has(web()).says("SetContainer", containerResp(web()), nil)
	f.run(t, "set", "web", "--ram", "2G", "--ipdel", "10.0.0.5", "--ipadd", "10.0.0.7/24", "--nameserver", "inherit", "--save").ok(t)
	req, _ := last[*vzpb.SetContainerRequest](f)
	var spec cluster.Spec
	if err := json.Unmarshal(req.SpecJson, &spec); err != nil {
		t.Fatal(err)
	}
	if want := []string{cluster.FieldMemory, cluster.FieldNameserver, cluster.FieldAddresses}; !reflect.DeepEqual(req.Fields, want) || req.Name != "101" || req.OpKey == "" {
		t.Errorf("request %v", req)
	}
	if spec.Resources.MemoryBytes != 2<<30 || !reflect.DeepEqual(spec.Net.Addresses, []string{"10.0.0.6/24", "10.0.0.7/24"}) {
		t.Errorf("%+v", spec)
	}
	newFake(t).has(web()).run(t, "set", "web", "--ipdel", "10.9.9.9").fails(t, 4, "CONFLICT", "10.9.9.9")
	newFake(t).has(web()).run(t, "set", "web", "--ram", "1").fails(t, 2, "USAGE", "out of range")
	newFake(t).has(web()).run(t, "set", "nope", "--ram", "1G").fails(t, 3, "NOT_FOUND")
}

func TestAddresses(t *testing.T) {
	cur := []string{"10.0.0.5/24", "10.0.0.50/24", "fd00::5/64"}
	for _, c := range []struct{ add, del, want []string }{
		{nil, []string{"all"}, []string{}},
		{nil, []string{"10.0.0.5"}, []string{"10.0.0.50/24", "fd00::5/64"}},
		{[]string{"10.0.0.5/24"}, nil, cur},
		{[]string{"10.0.0.9/24"}, []string{"all"}, []string{"10.0.0.9/24"}},
	} {
		s := specFlags{add: c.add, del: c.del}
		got, err := s.addresses(cur)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("+%v -%v: %v, %v", c.add, c.del, got, err)
		}
	}
	if cur[0] != "10.0.0.5/24" || len(cur) != 3 {
		t.Errorf("the record's own list was changed: %v", cur)
	}
}

func TestCordon(t *testing.T) {
	f := newFake(t).says("CordonNode", &vzpb.NodeResponse{Json: mustJSON(cluster.Node{Name: "n1", Cordoned: true})}, nil)
	f.run(t, "node", "cordon", "n1", "-m", "new disk").ok(t)
	if req, _ := last[*vzpb.CordonNodeRequest](f); !req.Cordon || req.Reason != "new disk" || req.Name != "n1" || req.OpKey == "" {
		t.Errorf("%v", req)
	}
	if d := f.run(t, "node", "uncordon", "n1", "-j").ok(t).doc(t); d["name"] != "n1" || d["op"] == nil {
		t.Errorf("%v", d)
	}
	if req, _ := last[*vzpb.CordonNodeRequest](f); req.Cordon {
		t.Errorf("%v", req)
	}
}

func templatesFake(t *testing.T) *fake {
	return newFake(t).says("ListTemplates", &vzpb.ListTemplatesResponse{Templates: []*vzpb.TemplateResponse{{Json: mustJSON(cluster.Template{Name: "debian", Digest: "abc", Size: 300 << 20})}}}, nil)
}

func TestTemplates(t *testing.T) {
	if r := templatesFake(t).run(t, "template", "list", "-H", "-o", "name,size,digest").ok(t); r.out != "debian  300M  abc\n" {
		t.Errorf("%q", r.out)
	}
	file := filepath.Join(t.TempDir(), "t.tar")
	if err := os.WriteFile(file, make([]byte, importChunk*2+7), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFake(t).says("ImportTemplate", &vzpb.TemplateResponse{Json: mustJSON(cluster.Template{Name: "debian", Digest: "abc"})}, nil)
	if d := f.run(t, "template", "import", "debian", file, "-j").ok(t).doc(t); d["digest"] != "abc" {
		t.Errorf("%v", d)
	}
	req, _ := last[*vzpb.ImportTemplateRequest](f)
	if h := req.GetHeader(); h.GetSize() != importChunk*2+7 || h.GetName() != "debian" || h.GetOpKey() == "" {
		t.Errorf("%v", h)
	}
	newFake(t).says("ImportTemplate", nil, status.Error(codes.InvalidArgument, "not a tar")).run(t, "template", "import", "debian", file).fails(t, 2, "USAGE", "not a tar")
}
