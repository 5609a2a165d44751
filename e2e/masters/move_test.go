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

	"github.com/vzcluster/vzcluster/e2e/harness"
	"github.com/vzcluster/vzcluster/e2e/lab"
)

// mover is a lab of three masters whose state changes its place.
type mover struct {
	*harness.Cluster
	argv map[string][]string // of each master, as the lab began: with etcd
	etcd map[string]lab.Daemon
}

var moverHosts = []string{"m1", "m2", "m3"}

// TestStoreMigrate moves the state from etcd to raft and back with the real programs. A container runs on all the time; the masters
// that come up know it, command it, and are obeyed by the nodes.
func TestStoreMigrate(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	m := &mover{Cluster: up(t, lab.Config{Name: "masters-move", Masters: 3, Nodes: 1, Store: lab.StoreEtcd}),
		argv: map[string][]string{}, etcd: map[string]lab.Daemon{}}
	hosts, err := m.Lab.Hosts()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		if h.Kind == lab.RoleMaster {
			m.etcd[h.Name], m.argv[h.Name] = h.Daemons[0], h.Daemons[1].Argv
		}
	}
	m.must(t, ctx, "template", "import", "debian-redis", filepath.Join(harness.TemplateDir(), "debian-redis.tar"))
	redis, err := m.Redis(ctx, "web1", "10.77.1.1", "", 1)
	if err != nil {
		t.Fatal(err)
	}
	before, err := redis.Digest(ctx)
	if err != nil {
		t.Fatal(err)
	}

	// To raft: the first master gets a directory, the others join it.
	if out, err := m.move(ctx, "--from", "etcd", "--to", "raft:/vz/master", "--id", "m1", "--raft-advertise", "10.77.0.11:7701"); err == nil {
		t.Fatalf("moved under running masters: %s", out)
	}
	m.stop(t)
	if out, err := m.move(ctx, "--from", "etcd", "--to", "raft:/vz/master", "--id", "m1", "--raft-advertise", "10.77.0.11:7701"); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	m.start(t, ctx, func(h string) []string {
		argv := []string{m.argv[h][0], "--id", h, "--listen", m.argv[h][4], "--data-dir", "/vz/master", "--raft-listen", strings.Replace(m.argv[h][4], "7700", "7701", 1)}
		if h != "m1" {
			argv = append(argv, "--join", "10.77.0.11:7700,10.77.0.12:7700")
		}
		return argv
	})
	m.obeyed(t, ctx, "raft")

	// Back, below another prefix: the old one stays held. A majority's directories are needed; the other host's is copied here.
	m.stop(t)
	back := []string{"--to", "etcd", "--etcd-prefix", "/second", "--from"}
	if out, err := m.move(ctx, append(back, "raft:/vz/master")...); err == nil {
		t.Fatalf("moved one directory of three: %s", out)
	}
	if out, err := exec.CommandContext(ctx, "cp", "-a", m.Lab.DiskPath("m2", "master"), m.Lab.DiskPath("m1", "m2")).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	if out, err := m.move(ctx, append(back, "raft:/vz/master,/vz/m2")...); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	m.start(t, ctx, func(h string) []string {
		argv := append([]string{}, m.argv[h]...)
		if argv[len(argv)-1] == "--bootstrap" {
			argv = argv[:len(argv)-1]
		}
		return append(argv, "--etcd-prefix", "/second")
	})
	m.obeyed(t, ctx, "etcd")
	after, err := redis.Digest(ctx)
	if err != nil || after != before {
		t.Errorf("the container's data: %s, before %s: %v", after, before, err)
	}
	m.must(t, ctx, "destroy", "web1", "--force", "--yes")
}

// move runs store migrate on the first master's host.
func (m *mover) move(ctx context.Context, args ...string) (string, error) {
	argv := append([]string{m.Program(), "store", "migrate"}, lab.EtcdArgs(len(moverHosts))...)
	cmd, err := m.Lab.Command(ctx, "m1", append(argv, args...)...)
	if err != nil {
		return "", err
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// stop ends all masters; etcd lives on.
func (m *mover) stop(t *testing.T) {
	t.Helper()
	for _, h := range moverHosts {
		if err := m.Lab.Kill(h, lab.RoleMaster, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
}

// start starts all masters with new command lines and waits until the cluster is whole.
func (m *mover) start(t *testing.T, ctx context.Context, argv func(host string) []string) {
	t.Helper()
	for _, h := range moverHosts {
		if err := m.Lab.SetDaemons(h, m.etcd[h], lab.Daemon{Role: lab.RoleMaster, Argv: argv(h)}); err != nil {
			t.Fatal(err)
		}
		if err := m.Lab.Start(h); err != nil {
			t.Fatal(err)
		}
	}
	ready, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := m.Lab.WaitReady(ready); err != nil {
		t.Fatal(err)
	}
}

// obeyed checks that the masters know the container and that its node does what they say.
func (m *mover) obeyed(t *testing.T, ctx context.Context, where string) {
	t.Helper()
	c, err := m.Container(ctx, "web1")
	if err != nil || c.State != "running" {
		t.Fatalf("on %s: the container is %+v: %v", where, c, err)
	}
	if node, err := m.OneCopy(ctx, "web1", 20*time.Second); err != nil || node != "n1" {
		t.Fatalf("on %s: it runs on %q: %v", where, node, err)
	}
	m.must(t, ctx, "exec", "web1", "--", "true")
	name := fmt.Sprint("more-", where)
	m.must(t, ctx, "create", name, "--ostemplate", "debian-redis", "--ram", "64M")
	m.must(t, ctx, "start", name)
	m.must(t, ctx, "destroy", name, "--force", "--yes")
}

func (m *mover) must(t *testing.T, ctx context.Context, args ...string) {
	t.Helper()
	if _, err := m.Must(ctx, args...); err != nil {
		t.Fatal(err)
	}
}
