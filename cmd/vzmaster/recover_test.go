package main

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/pkg/store/raftlog"
	"github.com/vzcluster/vzcluster/pkg/store/snapfile"
)

func kv(t *testing.T, v any) store.KV {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return store.KV{Value: b, Rev: 3}
}

// Nothing is changed without the typed confirmation. With it the master is alone in a new cluster that believes no old epoch, and the old
// directory is still there.
func TestRecover(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	dir := filepath.Join(t.TempDir(), "master")
	data := map[string]store.KV{
		store.MetaKey:   kv(t, store.Meta{ClusterID: "old", Format: store.Format}),
		"container/101": kv(t, cluster.Container{CTID: "101", Epoch: 4}),
		"master/m2":     kv(t, cluster.Master{ID: "m2"}),
	}
	if err := raftlog.Seed(dir, "m1", "h1:7701", 3, data, quiet); err != nil {
		t.Fatal(err)
	}
	run := func(typed string) (string, error) {
		var out strings.Builder
		r := recovery{dataDir: dir, raftAddr: "h1:7701"}
		err := r.run(strings.NewReader(typed), &out)
		return out.String(), err
	}
	epoch := func() (cluster.Epoch, *raftlog.Offline) {
		o, err := raftlog.OpenOffline(dir, quiet)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
		var c cluster.Container
		if err := json.Unmarshal(o.Data["container/101"].Value, &c); err != nil {
			t.Fatal(err)
		}
		return c.Epoch, o
	}
	for _, typed := range []string{"", "yes\n", "recover m2\n"} {
		out, err := run(typed)
		if err == nil || !strings.Contains(err.Error(), "nothing was changed") || !strings.Contains(out, "LOST") {
			t.Errorf("typed %q: %v, %s", typed, err, out)
		}
	}
	if e, _ := epoch(); e != 4 {
		t.Fatalf("changed without confirmation: epoch %d", e)
	}
	if _, err := run("recover m1\n"); err != nil {
		t.Fatal(err)
	}
	e, o := epoch()
	if _, other := o.Data["master/m2"]; e != 4+snapfile.Jump || other || len(o.Voters) != 1 || o.Voters[0] != "m1" {
		t.Errorf("epoch %d, voters %v, another master's record: %v", e, o.Voters, other)
	}
	if kept, err := filepath.Glob(dir + ".before-recovery-*"); err != nil || len(kept) != 1 {
		t.Errorf("the old directory: %v, %v", kept, err)
	} else if _, err := os.Stat(filepath.Join(kept[0], "id")); err != nil {
		t.Error(err)
	}
}
