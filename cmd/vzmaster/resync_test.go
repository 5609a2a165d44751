package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/rpc"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// others are the other masters: they know m1 to m3.
type others struct {
	vzpb.UnimplementedClusterServer
	runs  bool // m1 does
	calls []string
}

func (o *others) ListMasters(context.Context, *vzpb.ListMastersRequest) (*vzpb.ListMastersResponse, error) {
	infos := []cluster.MasterInfo{{Master: cluster.Master{ID: "m1", RaftAddr: "m1:7701", APIAddr: "m1:7700"}}}
	if o.runs {
		infos[0].State = &cluster.MasterState{}
	}
	for _, call := range o.calls {
		if call == "remove m1" {
			infos = nil
		}
	}
	b, err := json.Marshal(infos)
	return &vzpb.ListMastersResponse{Json: b}, err
}

func (o *others) RemoveMaster(_ context.Context, r *vzpb.RemoveMasterRequest) (*vzpb.ListMastersResponse, error) {
	o.calls = append(o.calls, "remove "+strings.Join(r.GetIds(), ","))
	return &vzpb.ListMastersResponse{}, nil
}

func (o *others) Status(context.Context, *vzpb.StatusRequest) (*vzpb.StatusResponse, error) {
	return &vzpb.StatusResponse{Json: []byte(`{"term":7}`)}, nil
}

func (o *others) AddMaster(_ context.Context, r *vzpb.AddMasterRequest) (*vzpb.AddMasterResponse, error) {
	o.calls = append(o.calls, "add "+r.GetId()+" "+r.GetRaftAddr()+" "+r.GetApiAddr())
	return &vzpb.AddMasterResponse{}, nil
}

func serve(t *testing.T, o *others) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := rpc.NewServer()
	vzpb.RegisterClusterServer(srv, o)
	go srv.Serve(lis)
	t.Cleanup(srv.Stop)
	return lis.Addr().String()
}

func dataOf(t *testing.T, id string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "id"), []byte(id+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestResync(t *testing.T) {
	var o others
	dir := dataOf(t, "m1")
	text, err := (&resyncOptions{dataDir: dir, masters: []string{"127.0.0.1:1", serve(t, &o)}}).run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := "remove m1; add m1 m1:7701 m1:7700"; strings.Join(o.calls, "; ") != want {
		t.Errorf("asked the others to %q, want %q", o.calls, want)
	}
	if aside, _ := filepath.Glob(filepath.Join(dir, "damaged-*", "id")); len(aside) != 1 || !strings.Contains(text, filepath.Dir(aside[0])) {
		t.Errorf("the old data is in %v; it says: %s", aside, text)
	}
}

func TestResyncRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		others others
		owner  string
		id     string
		want   string
	}{
		"it runs":              {others{runs: true}, "m1", "", "runs and answers"},
		"another's directory":  {others{}, "m1", "m2", `belongs to the master "m1"`},
		"a master that is not": {others{}, "m9", "", `no master "m9"`},
		"nobody's directory":   {others{}, "", "", "--id"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := dataOf(t, test.owner)
			_, err := (&resyncOptions{id: test.id, dataDir: dir, masters: []string{serve(t, &test.others)}}).run(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if len(test.others.calls) > 0 {
				t.Errorf("asked the others to %q", test.others.calls)
			}
			if aside, _ := filepath.Glob(filepath.Join(dir, "damaged-*")); len(aside) > 0 {
				t.Errorf("data was moved: %v", aside)
			}
		})
	}
}
