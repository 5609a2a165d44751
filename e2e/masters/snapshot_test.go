package masters

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/e2e/harness"
	"github.com/vzcluster/vzcluster/e2e/lab"
	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// TestSnapshotRestore makes a new cluster from a snapshot that is out of date: since it was taken one container has moved to another
// host. The new cluster must find it where it is, above every epoch of the old one, and neither start it again nor take it away.
func TestSnapshotRestore(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c := up(t, lab.Config{Name: "masters-snap", Masters: 3, Nodes: 2})
	must := func(args ...string) string {
		t.Helper()
		out, err := c.Must(ctx, args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	must("template", "import", "busybox", filepath.Join(harness.TemplateDir(), "busybox.tar"))
	for _, name := range []string{"stays", "moves"} {
		must("create", name, "--ostemplate", "busybox", "--on", "n1", "--ram", "64M")
		must("start", name)
	}
	t.Cleanup(func() {
		end, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, name := range []string{"stays", "moves"} {
			if _, err := c.Must(end, "destroy", name, "--force", "--yes"); err != nil {
				t.Errorf("destroy %s after the test: %v", name, err)
			}
		}
	})
	init := func(name string) string {
		return must("exec", name, "--", "cut", "-d ", "-f22", "/proc/1/stat")
	}
	file := filepath.Join(t.TempDir(), "cluster.snap")
	must("store", "snapshot", "save", file)
	must("store", "snapshot", "inspect", file)
	must("migrate", "moves", "--to", "n2")
	began := map[string]string{"stays": init("stays"), "moves": init("moves")}
	epochs := map[string]cluster.Epoch{}
	for name := range began {
		rec, err := c.Container(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		epochs[name] = rec.Epoch
	}

	dir := newCluster(t, c)
	must("store", "snapshot", "restore", file, "--data-dir", dir, "--id", "m1", "--raft-advertise", "10.77.0.11:7701")
	for _, host := range []string{"m1", "m2", "m3"} {
		if err := c.Lab.Start(host); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Lab.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"stays": "n1", "moves": "n2"} {
		var rec cluster.Container
		limit, cancel := context.WithTimeout(ctx, time.Minute)
		poll(t, limit, name+" is found again", func() (err error) {
			rec, err = c.Container(limit, name)
			if err == nil && (rec.Adopt || rec.State != cluster.ContainerRunning) {
				err = fmt.Errorf("%s, %q", rec.State, rec.Reason)
			}
			return err
		})
		cancel()
		node, err := c.OneCopy(ctx, rec.CTID, 30*time.Second)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if node != want || rec.Node != want {
			t.Errorf("%s runs on %s, and its record says %s; want %s", name, node, rec.Node, want)
		}
		if rec.Epoch <= epochs[name] {
			t.Errorf("%s has epoch %d, and had %d in the old cluster", name, rec.Epoch, epochs[name])
		}
		if now := init(name); now != began[name] {
			t.Errorf("%s was started again: its init began at %q, before the restore at %q", name, now, began[name])
		}
	}
	// It is a cluster like any other.
	must("migrate", "moves", "--to", "n1")
}

// newCluster stops all masters, puts their data out of the way, and returns where the first one's is to be.
func newCluster(t *testing.T, c *harness.Cluster) string {
	t.Helper()
	for _, host := range []string{"m1", "m2", "m3"} {
		if err := c.Lab.Kill(host, lab.RoleMaster, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		dir := c.Lab.DiskPath(host, "/master")
		if err := os.Rename(dir, dir+".old"); err != nil {
			t.Fatal(err)
		}
	}
	return c.Lab.DiskPath("m1", "/master")
}
