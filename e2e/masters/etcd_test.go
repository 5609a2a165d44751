package masters

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/e2e/harness"
	"github.com/vzcluster/vzcluster/e2e/lab"
)

// TestDemoOnEtcd: the tour of `make demo` keeps all its promises with the state in etcd.
func TestDemoOnEtcd(t *testing.T) {
	bin, err := harness.BinDir()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(bin, "vzdemo"), "--store", lab.StoreEtcd).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "exactly one copy") {
		t.Errorf("vzdemo --store etcd: %v\n%s", err, out)
	}
}

// TestEtcdMembersKilled kills each member of etcd in turn under load, its leader among them. The masters live on and find another
// member; what was acknowledged stays.
func TestEtcdMembersKilled(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	r := drive(t, up(t, lab.Config{Name: "masters-etcd", Masters: 3, Store: lab.StoreEtcd}))
	r.progress(t, ctx, 50)
	for _, h := range []string{"m1", "m2", "m3"} {
		at := time.Now()
		if err := r.Lab.Kill(h, lab.RoleEtcd, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		gone := time.Now()
		poll(t, ctx, "writes without the etcd of "+h, func() error {
			first, ok := r.history.FirstAfter(gone)
			if !ok {
				return errNoWrite
			}
			t.Logf("kill -9 of etcd on %s: first write after %v", h, first.Sub(at).Round(time.Millisecond))
			return nil
		})
		r.progress(t, ctx, 50)
		if err := r.Lab.Start(h); err != nil {
			t.Fatal(err)
		}
		r.whole(t, ctx)
	}
	r.end(t, ctx)
}

// TestEtcdMemberHangs stops each member of etcd in turn for longer than any lease, without breaking its connections. The masters get
// along with the others.
func TestEtcdMemberHangs(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	r := drive(t, up(t, lab.Config{Name: "masters-hang", Masters: 3, Store: lab.StoreEtcd}))
	r.progress(t, ctx, 50)
	for _, h := range []string{"m1", "m2", "m3"} {
		if err := r.Lab.Kill(h, lab.RoleEtcd, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		at := time.Now()
		r.progress(t, ctx, 100)
		t.Logf("etcd on %s hangs: 100 writes took %v", h, time.Since(at).Round(time.Millisecond))
		if err := r.Lab.Kill(h, lab.RoleEtcd, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		r.whole(t, ctx)
	}
	r.end(t, ctx)
}

// whole waits until the etcd of each host counts again: it answers a linearizable read.
func (r *rig) whole(t *testing.T, ctx context.Context) {
	t.Helper()
	hosts, err := r.Lab.Hosts()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		for _, d := range h.Daemons {
			if d.Role != lab.RoleEtcd {
				continue
			}
			if out, err := r.Lab.Exec(ctx, h.Name, append(slices.Clone(d.Argv), "--wait")...); err != nil {
				t.Fatalf("the etcd of %s: %v: %s", h.Name, err, out)
			}
		}
	}
}
