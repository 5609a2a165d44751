package masters

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/e2e/lab"
)

// TestRollingUpgrade replaces the masters one by one, under load, by those of the next release, whose records have a newer format.
// The two releases work side by side; the format changes when the last old one is gone; and then an old one does not start any more.
func TestRollingUpgrade(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	next := nextRelease(t, ctx)
	r := drive(t, up(t, lab.Config{Name: "masters-upgrade", Masters: 3}))
	r.progress(t, ctx, 50)
	hosts, err := r.Lab.Hosts()
	if err != nil {
		t.Fatal(err)
	}
	var last lab.Host
	for _, h := range hosts {
		if h.Kind != lab.RoleMaster {
			continue
		}
		if last.Name != "" {
			if st, err := r.status(ctx); err != nil || st.Format != 1 {
				t.Errorf("before %s is upgraded: format %d, %v; want 1", h.Name, st.Format, err)
			}
		}
		replace(t, ctx, r, h, next)
		last = h
		r.progress(t, ctx, 100)
	}
	limit, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	poll(t, limit, "the next format", func() error {
		st, err := r.status(limit)
		if err == nil && st.Format != 2 {
			err = fmt.Errorf("format %d", st.Format)
		}
		return err
	})
	r.progress(t, ctx, 50)

	// Back again: too late.
	said := len(logOf(t, r.Cluster, last.Name))
	if err := r.Lab.Kill(last.Name, lab.RoleMaster, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := r.Lab.SetDaemons(last.Name, last.Daemons...); err != nil {
		t.Fatal(err)
	}
	if err := r.Lab.Start(last.Name); err != nil {
		t.Fatal(err)
	}
	ends(t, ctx, r.Cluster, last.Name)
	if got := logOf(t, r.Cluster, last.Name)[said:]; !strings.Contains(got, "error: store: the records have format 2, this binary knows up to 1: use a newer one") {
		t.Errorf("the old one does not say why it ends: %s", got)
	}
	r.progress(t, ctx, 50)
	replace(t, ctx, r, last, next)
	r.end(t, ctx)
}

// replace ends a host's master and starts another program with the same command line.
func replace(t *testing.T, ctx context.Context, r *rig, h lab.Host, program string) {
	t.Helper()
	d := h.Daemons[0]
	d.Argv = append([]string{program}, d.Argv[1:]...)
	if process(t, r.Cluster, h.Name).Running {
		if err := r.Lab.Kill(h.Name, lab.RoleMaster, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Lab.SetDaemons(h.Name, d); err != nil {
		t.Fatal(err)
	}
	if err := r.Lab.Start(h.Name); err != nil {
		t.Fatal(err)
	}
	r.answers(t, ctx, h.Name)
}

// nextRelease builds a master of the next release.
func nextRelease(t *testing.T, ctx context.Context) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "vzmaster-next")
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-tags", "runc_nocriu,seccomp,formatnext", "-o", program, "../../cmd/vzmaster")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the next release: %v: %s", err, out)
	}
	return program
}
