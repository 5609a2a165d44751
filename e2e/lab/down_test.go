package lab_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vzcluster/vzcluster/e2e/lab"
)

func TestUpRefusesWhatIsUp(t *testing.T) {
	l := up(t, "twice")
	cfg := config(t, "twice")
	if _, err := lab.Up(t.Context(), cfg); !errors.Is(err, lab.ErrIsUp) {
		t.Errorf("second up: %v", err)
	}
	if _, err := l.Exec(t.Context(), "n1", "true"); err != nil {
		t.Error("the refused up has harmed the lab:", err)
	}
}

func TestUpClearsDeadLab(t *testing.T) {
	cfg := config(t, "dead")
	// What a lab leaves whose hosts died with the machine, or with a test that was killed.
	dir := lab.DefaultDir(cfg.Name)
	must(t, os.MkdirAll(filepath.Join(dir, "n7", "vz", "private"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "state.json"), []byte("{"), 0o644))
	l := up(t, "dead")
	if _, err := os.Stat(filepath.Join(dir, "n7")); err == nil {
		t.Error("the old host's disk is still there")
	}
	reachSoon(t, l, "client", "n1")
}

func TestRestartAfterTerm(t *testing.T) {
	l := up(t, "term")
	for range 5 {
		must(t, l.Kill("n1", "", unix.SIGTERM))
		must(t, l.Start("n1"))
		reachSoon(t, l, "client", "n1")
	}
}

func TestDownWithoutState(t *testing.T) {
	cfg := config(t, "lost")
	l, err := lab.Up(t.Context(), cfg)
	must(t, err)
	_, err = l.Exec(t.Context(), "n1", "sh", "-c", "for h in $(awk '$3 ~ /^cgroup2?$/ {print $2}' /proc/mounts); do mkdir -p $h"+l.CgroupParent("n1")+"/101/sub; done")
	must(t, err)
	left, err := lab.Leftovers(cfg.Name, "")
	must(t, err)
	for _, kind := range []string{"process ", "mount ", "network namespace ", "cgroup ", "file "} {
		if !strings.Contains("\n"+strings.Join(left, "\n"), "\n"+kind) {
			t.Errorf("Leftovers does not see a %sof a lab that is up", kind)
		}
	}
	// As if Up had been killed in the middle of its first write.
	must(t, os.WriteFile(filepath.Join(l.Dir(), "state.json"), []byte("{"), 0o644))
	must(t, lab.Down(t.Context(), cfg.Name, lab.DownOptions{KeepLogs: true}))
	noLeftovers(t, cfg.Name)
	if data, err := os.ReadFile(l.LogPath("n1", lab.RoleNode)); err != nil || !strings.Contains(string(data), "serving") {
		t.Errorf("log is %q: %v", data, err)
	}
	for range 2 {
		must(t, lab.Down(t.Context(), cfg.Name, lab.DownOptions{}))
	}
	if _, err := os.Stat(l.Dir()); err == nil {
		t.Error("the state directory is still there")
	}
}

func TestFailedUpLeavesNothing(t *testing.T) {
	cfg := config(t, "fail")
	cfg.Daemons = func(h lab.Host) []lab.Daemon {
		if h.Name != "n2" {
			return nil
		}
		return []lab.Daemon{{Role: lab.RoleNode, Argv: []string{"/no/such/program"}}}
	}
	if _, err := lab.Up(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("up: %v", err)
	}
	noLeftovers(t, cfg.Name)
	must(t, lab.Down(t.Context(), cfg.Name, lab.DownOptions{}))
}

func TestDownRefusesForeignDirectory(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious")
	must(t, os.WriteFile(precious, nil, 0o644))
	if err := lab.Down(t.Context(), "foreign", lab.DownOptions{Dir: dir}); err == nil {
		t.Error("a directory that is no lab's was taken down")
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []lab.Config{
		{Name: "../x"}, {Name: "A"}, {Name: strings.Repeat("x", 25)}, {Name: "-"},
		{Masters: -1}, {Masters: 10}, {Nodes: 61}, {Dir: "/run/lab"}, {Dir: "/vz"},
	} {
		if _, err := lab.Up(t.Context(), cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}
