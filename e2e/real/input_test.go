package real

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// TestBadInput: each mistake has its exit code and one clear line, and changes nothing.
func TestBadInput(t *testing.T) {
	ctx := testContext(t, 4*time.Minute)
	redis(t, ctx, "input", "10.77.1.30", "n1", 64)
	must(t, ctx, "node", "cordon", "n3", "--yes")
	t.Cleanup(func() { must(t, context.Background(), "node", "uncordon", "n3", "--yes") })
	notTar := filepath.Join(t.TempDir(), "not-a-tar")
	if err := os.WriteFile(notTar, []byte(strings.Repeat("this is no archive\n", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, ctx)
	for _, tt := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"unknown CTID", []string{"start", "nobody"}, 3, "nobody"},
		{"unknown CTID to migrate", []string{"migrate", "4711", "--to", "n2"}, 3, "4711"},
		{"same node", []string{"migrate", "input", "--to", "n1"}, 4, "n1"},
		{"unknown node", []string{"migrate", "input", "--to", "n9"}, 3, "n9"},
		{"cordoned node", []string{"migrate", "input", "--to", "n3"}, 4, "cordon"},
		{"path as name", []string{"create", "../x", "--ostemplate", "busybox"}, 2, "name"},
		{"unknown template", []string{"create", "x1", "--ostemplate", "nix"}, 3, "nix"},
		{"not a tar", []string{"template", "import", "bad", notTar}, 2, "tar"},
		{"no such file", []string{"template", "import", "bad", notTar + "-not-there"}, 2, "no such file"},
		{"absurd size", []string{"create", "x2", "--ostemplate", "busybox", "--ram", "1e309"}, 2, "1e309"},
		{"negative size", []string{"create", "x2", "--ostemplate", "busybox", "--ram", "-1"}, 2, "-1"},
		{"more than any node has", []string{"create", "x3", "--ostemplate", "busybox", "--ram", "900T"}, 4, "memory"},
		{"name taken", []string{"create", "input", "--ostemplate", "busybox"}, 4, "input"},
		{"address taken", []string{"create", "x4", "--ostemplate", "busybox", "--ipadd", "10.77.1.30/16"}, 4, "10.77.1.30"},
		{"bad address", []string{"create", "x5", "--ostemplate", "busybox", "--ipadd", "10.77.1.300"}, 2, "10.77.1.300"},
		{"destroy a running one", []string{"destroy", "input", "--yes"}, 4, "running"},
		{"unknown command", []string{"frobnicate"}, 2, "frobnicate"},
		{"unknown flag", []string{"list", "--frob"}, 2, "frob"},
		{"no operand", []string{"start"}, 2, "CTID"},
		{"unknown mode", []string{"migrate", "input", "--to", "n2", "--mode", "teleport"}, 2, "teleport"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := c.CLI(ctx, tt.args...)
			if err != nil {
				t.Fatal(err)
			}
			line := strings.TrimSuffix(r.Stderr, "\n")
			if r.Code != tt.code || !strings.HasPrefix(line, "error: ") || strings.Contains(line, "\n") || !strings.Contains(line, tt.says) {
				t.Errorf("%v: exit %d, stderr %q; want %d, one line `error: ...` with %q", tt.args, r.Code, r.Stderr, tt.code, tt.says)
			}
			if r.Stdout != "" {
				t.Errorf("%v printed %q on stdout", tt.args, r.Stdout)
			}
			r, err = c.CLI(ctx, append(tt.args, "-j")...)
			if err != nil {
				t.Fatal(err)
			}
			var doc struct{ Code, Message string }
			if err := json.Unmarshal([]byte(r.Stdout), &doc); err != nil || doc.Code == "" || doc.Message == "" {
				t.Errorf("%v -j printed %q (%v)", tt.args, r.Stdout, err)
			}
		})
	}
	if after := snapshot(t, ctx); after != before {
		t.Errorf("the state changed:\nbefore %s\nafter  %s", before, after)
	}
}

// TestSecondMigration: one migration of a container at a time; the second is refused by name and disturbs nothing.
func TestSecondMigration(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	r := redis(t, ctx, "second", "10.77.1.31", "n1", 128)
	p := watch(t, ctx, r)
	id := detach(t, ctx, "second", "n2")
	res, err := c.CLI(ctx, "migrate", "second", "--to", "n3")
	if err != nil {
		t.Fatal(err)
	}
	if res.Code != 4 || !contains(res.Stderr, id) {
		t.Errorf("second migration: exit %d, %q; want 4 and migration %s named", res.Code, res.Stderr, id)
	}
	for _, args := range [][]string{{"stop", "second"}, {"destroy", "second", "--force", "--yes"}} {
		if res, err := c.CLI(ctx, args...); err != nil || res.Code != 4 {
			t.Errorf("%v during a migration: exit %d, %v", args, res.Code, err)
		}
	}
	poll(t, ctx, "the end of the migration", func() bool { return migration(t, ctx, id).Closed })
	if m := migration(t, ctx, id); m.Phase != cluster.PhaseDone {
		t.Errorf("the first migration ended %s: %s", m.Phase, m.Reason)
	}
	if node := oneCopy(t, ctx, "second", 10*time.Second); node != "n2" {
		t.Errorf("it runs on %s", node)
	}
	alive(t, p)
}

// snapshot is the cluster's state as far as commands change it.
func snapshot(t *testing.T, ctx context.Context) string {
	t.Helper()
	var all []cluster.Container
	if err := c.JSON(ctx, &all, "list", "-a"); err != nil {
		t.Fatal(err)
	}
	var templates []cluster.Template
	if err := c.JSON(ctx, &templates, "template", "list"); err != nil {
		t.Fatal(err)
	}
	var ms []cluster.Migration
	if err := c.JSON(ctx, &ms, "migrations", "-a"); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal([]any{all, templates, len(ms)})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
