package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/pkg/store/raftlog"
	"github.com/vzcluster/vzcluster/pkg/store/snapfile"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// SaveSnapshot sends what the test has scripted.
func (f *fake) SaveSnapshot(_ *vzpb.SaveSnapshotRequest, s grpc.ServerStreamingServer[vzpb.SaveSnapshotResponse]) error {
	for part := range bytes.Lines(f.snapshot) {
		if err := s.Send(&vzpb.SaveSnapshotResponse{Data: part}); err != nil {
			return err
		}
	}
	return nil
}

func snapshotBytes(t *testing.T) []byte {
	t.Helper()
	c, err := json.Marshal(cluster.Container{CTID: "101", Epoch: 4})
	if err != nil {
		t.Fatal(err)
	}
	m, err := json.Marshal(store.Meta{ClusterID: "c1", Format: store.Format})
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	data := map[string]store.KV{"container/101": {Value: c, Rev: 9}, store.MetaKey: {Value: m, Rev: 1}}
	if err := snapfile.Write(&file, snapfile.Header{ClusterID: "c1", Format: store.Format, Rev: 9, Term: 2}, data); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// A saved snapshot is whole or not there; restored, it is the data directory of a new cluster of one master.
func TestSnapshotSaveAndRestore(t *testing.T) {
	f := newFake(t)
	f.snapshot = snapshotBytes(t)
	dir := t.TempDir()
	file, data := filepath.Join(dir, "s"), filepath.Join(dir, "data")
	run := func(args ...string) int {
		return runApp(t, t.Context(), []string{f.addr}, append([]string{"store", "snapshot"}, args...)...).code
	}
	if code := run("save", file); code != 0 {
		t.Fatalf("save: exit %d", code)
	}
	if code := run("save", file); code != 2 {
		t.Errorf("save over a file: exit %d, want 2", code)
	}
	if code := run("inspect", file); code != 0 {
		t.Errorf("inspect: exit %d", code)
	}
	if code := run("restore", file, "--data-dir", data, "--id", "m1", "--raft-advertise", "h1:7701"); code != 0 {
		t.Fatalf("restore: exit %d", code)
	}
	if code := run("restore", file, "--data-dir", data, "--id", "m1", "--raft-advertise", "h1:7701"); code != 4 {
		t.Errorf("restore over a directory: exit %d, want 4", code)
	}
	o, err := raftlog.OpenOffline(data, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	var c cluster.Container
	if err := json.Unmarshal(o.Data["container/101"].Value, &c); err != nil || c.Epoch != 4+snapfile.Jump || !c.Adopt {
		t.Errorf("restored: %+v, %v", c, err)
	}
	f.snapshot = f.snapshot[:len(f.snapshot)-3]
	cut := filepath.Join(dir, "cut")
	if code := run("save", cut); code == 0 {
		t.Error("a snapshot that was cut off on its way was taken")
	}
	if left, _ := filepath.Glob(cut + "*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}
