package main

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// three are containers for lists: two run.
func three() []cluster.Container {
	db := web(func(c *cluster.Container) {
		c.CTID, c.Name, c.Node, c.Spec.Resources.MemoryBytes, c.Spec.OnBoot = "1000", "db", "n2", 2<<30, true
		c.Spec.Net.Addresses = nil
	})
	off := web(in(cluster.ContainerStopped), func(c *cluster.Container) { c.CTID, c.Name, c.Spec.Resources.MemoryBytes = "102", "", 1<<30 })
	return []cluster.Container{db, web(), off}
}

func TestList(t *testing.T) {
	for _, c := range []struct {
		args string
		want []string
	}{
		{"", []string{"CTID  NAME  NODE  STATUS   NPROC   RAM  IP_ADDR                  HOSTNAME",
			" 101  web   n1    running      7  512M  10.0.0.5/24,10.0.0.6/24  web.example",
			"1000  db    n2    running      7    2G  -                        web.example"}},
		{"-1", []string{"101", "1000"}},
		{"-a -1", []string{"101", "102", "1000"}},
		{"-S -H -o ctid,name,nproc", []string{"102  -  -"}},
		{"-a -H -o ctid,ram -s -ram", []string{"1000    2G", " 102    1G", " 101  512M"}},
		{"-aH -o name -s name", []string{"-", "db", "web"}},
		{"-a -o onboot,cpus -s onboot", []string{"ONBOOT  CPUS", "no       1.5", "no       1.5", "yes      1.5"}},
		{"102 -H -o ctid,status", []string{"102  stopped"}},
		{"web db -H -o name -s -ctid", []string{"db", "web"}},
	} {
		r := newFake(t).has(three()...).run(t, append([]string{"list"}, strings.Fields(c.args)...)...).ok(t)
		if got := splitLines(r.out); !reflect.DeepEqual(got, c.want) {
			t.Errorf("list %s:\n%s\nwant\n%s", c.args, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
	newFake(t).has(three()...).run(t, "list", "nope").fails(t, 3, "NOT_FOUND", "nope")
	f := newFake(t).has(three()...)
	f.run(t, "list", "-n", "n2").ok(t)
	if req, _ := last[*vzpb.ListContainersRequest](f); req.Node != "n2" {
		t.Errorf("request %v", req)
	}
}

func TestListJSON(t *testing.T) {
	var docs []containerDoc
	newFake(t).has(three()...).run(t, "list", "-a", "-j", "-s", "-ctid").ok(t).into(t, &docs)
	if len(docs) != 3 || docs[0].CTID != "1000" || docs[0].Usage == nil || docs[1].Usage != nil || !reflect.DeepEqual(docs[2].Spec, web().Spec) {
		t.Errorf("%+v", docs)
	}
	var objects []map[string]any
	newFake(t).has(three()...).run(t, "list", "-j", "-o", "ctid,ram,status,onboot").ok(t).into(t, &objects)
	want := []map[string]any{
		{"ctid": 101.0, "ram": float64(512 << 20), "status": "running", "onboot": false},
		{"ctid": 1000.0, "ram": float64(2 << 30), "status": "running", "onboot": true},
	}
	if !reflect.DeepEqual(objects, want) {
		t.Errorf("%v", objects)
	}
	if r := newFake(t).has().run(t, "list", "-j").ok(t); strings.TrimSpace(r.out) != "[]" {
		t.Errorf("an empty list is %q", r.out)
	}
	newFake(t).run(t, "list", "-L", "-j").ok(t).into(t, &objects)
	if len(objects) != len(containerColumns()) {
		t.Errorf("%d fields", len(objects))
	}
}

// TestColumns: every column of every list can be shown, sorted by, and has a text.
func TestColumns(t *testing.T) {
	for _, c := range containerColumns() {
		newFake(t).has(three()...).run(t, "list", "-a", "-o", c.Name, "-s", "-"+c.Name).ok(t)
		if c.Help == "" || c.Title == "" {
			t.Errorf("column %s has no help or header", c.Name)
		}
	}
	for _, c := range nodeColumns() {
		nodesFake(t).run(t, "node", "list", "-o", c.Name, "-s", c.Name).ok(t)
	}
	for _, c := range migrationColumns() {
		historyFake(t).run(t, "history", "-o", c.Name, "-s", c.Name).ok(t)
	}
	for _, c := range templateColumns() {
		templatesFake(t).run(t, "template", "list", "-o", c.Name, "-s", c.Name).ok(t)
	}
}

func nodesFake(t *testing.T) *fake {
	n1 := cluster.Node{Name: "n1", State: cluster.NodeOnline, Info: cluster.NodeInfo{Address: "10.9.0.1:7710", Capacity: cluster.Resources{CPUMilli: 2000, MemoryBytes: 4 << 30, DiskBytes: 10 << 30},
		Features: cluster.Features{Kernel: "6.12", CRIU: "4.2"}}}
	n2 := cluster.Node{Name: "n2", State: cluster.NodeOffline, Cordoned: true, CordonReason: "new disk"}
	live := cluster.NodeLive{Running: 3, LeaseLeft: 14 * time.Second, Copies: []cluster.CopyInfo{{CTID: "101", Epoch: 4, State: cluster.CopyRunning, Pid: 42}}}
	return newFake(t).says("ListNodes", &vzpb.ListNodesResponse{Nodes: []*vzpb.NodeResponse{
		{Json: mustJSON(n2)}, {Json: mustJSON(n1), LiveJson: mustJSON(live)},
	}}, nil)
}

func TestNodeList(t *testing.T) {
	r := nodesFake(t).run(t, "node", "list").ok(t)
	want := []string{
		"NODE  STATUS   CORDONED  RUNNING  CPUS  RAM  DISK  CRIU  KERNEL  ADDRESS",
		"n1    online   no              3     2   4G   10G  4.2   6.12    10.9.0.1:7710",
		"n2    offline  yes             0     0   0B    0B  -     -       -",
	}
	if got := splitLines(r.out); !reflect.DeepEqual(got, want) {
		t.Errorf("\n%s", strings.Join(got, "\n"))
	}
	var docs []nodeDoc
	nodesFake(t).run(t, "node", "list", "-j").ok(t).into(t, &docs)
	if len(docs) != 2 || docs[0].Live == nil || docs[1].Live != nil || docs[0].Live.Copies[0].Pid != 42 {
		t.Errorf("%+v", docs)
	}
}

func TestNodeShow(t *testing.T) {
	n := cluster.Node{Name: "n1", State: cluster.NodeOnline, Cordoned: true, CordonReason: "new disk"}
	live := cluster.NodeLive{Copies: []cluster.CopyInfo{{CTID: "101", Epoch: 4, State: cluster.CopyRunning, Pid: 42}, {CTID: "7", Epoch: 1, State: cluster.CopyFailed, Error: "no space"}}}
	f := newFake(t).says("ListNodes", &vzpb.ListNodesResponse{Nodes: []*vzpb.NodeResponse{{Json: mustJSON(n), LiveJson: mustJSON(live)}}}, nil)
	r := f.run(t, "node", "show", "n1").ok(t)
	for _, w := range []string{"yes: new disk", "101, epoch 4, running, pid 42", "7, epoch 1, failed, no space"} {
		if !strings.Contains(r.out, w) {
			t.Errorf("lacks %q:\n%s", w, r.out)
		}
	}
	if d := f.run(t, "node", "show", "n1", "-j").ok(t).doc(t); d["name"] != "n1" || d["live"] == nil {
		t.Errorf("%v", d)
	}
	newFake(t).says("ListNodes", nil, status.Error(codes.NotFound, "no node n9")).run(t, "node", "show", "n9").fails(t, 3, "NOT_FOUND", "n9")
	newFake(t).says("ListNodes", &vzpb.ListNodesResponse{}, nil).run(t, "node", "show", "n9").fails(t, 3, "NOT_FOUND", "n9")
}

func TestStatus(t *testing.T) {
	s := cluster.Status{Leader: "m1", LeaderAddr: "10.9.0.1:7700", Term: 3, Masters: []cluster.Master{{ID: "m1", APIAddr: "10.9.0.1:7700"}, {ID: "m2", APIAddr: "10.9.0.2:7700"}},
		Nodes: map[string]int{"online": 2, "offline": 0}, Containers: map[string]int{"running": 1, "creating": 2}, Migrations: 1, Version: "v1"}
	f := newFake(t).says("Status", &vzpb.StatusResponse{Json: mustJSON(s)}, nil)
	r := f.run(t, "status").ok(t)
	for _, w := range []string{"m1 (10.9.0.1:7700), m2 (10.9.0.2:7700)", "term 3", "2 online\n", "2 creating, 1 running", "1 open"} {
		if !strings.Contains(r.out, w) {
			t.Errorf("lacks %q:\n%s", w, r.out)
		}
	}
	var got cluster.Status
	f.run(t, "status", "-j").ok(t).into(t, &got)
	if !reflect.DeepEqual(got, s) {
		t.Errorf("%+v", got)
	}
}

func TestShow(t *testing.T) {
	f := newFake(t).has(three()...)
	r := f.run(t, "show", "web").ok(t)
	for _, w := range []string{"ctid        101", "512M", "10.0.0.5/24 10.0.0.6/24", "running"} {
		if !strings.Contains(r.out, w) {
			t.Errorf("lacks %q:\n%s", w, r.out)
		}
	}
	var d containerDoc
	f.run(t, "show", "web", "-j").ok(t).into(t, &d)
	if !reflect.DeepEqual(d.Container, web()) || d.Usage == nil {
		t.Errorf("%+v", d)
	}
	f.run(t, "show", "nope").fails(t, 3, "NOT_FOUND", "nope")
}

func TestCompletion(t *testing.T) {
	if r := newFake(t).has(three()...).run(t, "__complete", "show", ""); r.code != 0 || !strings.HasPrefix(r.out, "1000\tdb\ndb\n101\tweb\nweb\n102") {
		t.Errorf("containers: %d %q", r.code, r.out)
	}
	if r := nodesFake(t).run(t, "__complete", "migrate", "101", "--to", ""); r.code != 0 || !strings.HasPrefix(r.out, "n2\nn1\n") {
		t.Errorf("nodes: %d %q", r.code, r.out)
	}
	if r := newFake(t).run(t, "completion", "bash"); r.code != 0 || !strings.Contains(r.out, "__start_vzctl-cluster") {
		t.Errorf("script: %d", r.code)
	}
}

func TestConsole(t *testing.T) {
	f := newFake(t).says("ConsoleLog", &vzpb.ConsoleLogResponse{Data: []byte("boot\x1b[1m\n")}, nil)
	if r := f.run(t, "console", "web", "--tail", "1K").ok(t); r.out != "boot\x1b[1m\n" {
		t.Errorf("not passed on as it is to a file: %q", r.out)
	}
	if req, _ := last[*vzpb.ConsoleLogRequest](f); req.MaxBytes != 1024 || req.Name != "web" {
		t.Errorf("request %v", req)
	}
	if d := f.run(t, "console", "web", "-j").ok(t).doc(t); d["log"] != "boot\x1b[1m\n" {
		t.Errorf("%v", d)
	}
	if got := strings.Map(visible, "a\x1b[1mb\r\n\tc\u202e"); got != "a?[1mb\n\tc?" {
		t.Errorf("visible: %q", got)
	}
}

// Of a silent node nobody knows what runs there; a stopped container is stopped all the same.
func TestStatusOfSilentNode(t *testing.T) {
	for _, tt := range []struct {
		state cluster.ContainerState
		node  cluster.NodeState
		want  string
	}{
		{cluster.ContainerRunning, cluster.NodeOnline, "running"},
		{cluster.ContainerRunning, "", "running"},
		{cluster.ContainerRunning, cluster.NodeUnknown, "unknown"},
		{cluster.ContainerRunning, cluster.NodeOffline, "unknown"},
		{cluster.ContainerStopped, cluster.NodeOffline, "stopped"},
	} {
		d := containerDoc{Container: cluster.Container{State: tt.state}, NodeState: tt.node}
		if got := d.status(); got != tt.want {
			t.Errorf("%s on a node that is %q: %s, want %s", tt.state, tt.node, got, tt.want)
		}
	}
}
