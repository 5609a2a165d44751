package masters

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/e2e/harness"
	"github.com/vzcluster/vzcluster/e2e/lab"
	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/rpc"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// follower is a host whose master does not lead.
func (r *rig) follower(t *testing.T, ctx context.Context) string {
	t.Helper()
	leader := r.leader(t, ctx)
	for _, host := range []string{"m1", "m2", "m3"} {
		if host != leader {
			return host
		}
	}
	return ""
}

// TestDamagedLog: the power goes while a record is written; and a bit flips in one that was written long ago. The first is what a log
// is for. After the second the master must not start: what it would forget was acknowledged. The others serve on, and it comes
// back by fetching everything from them.
func TestDamagedLog(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	r := drive(t, up(t, lab.Config{Name: "masters-damage", Masters: 3}))
	r.progress(t, ctx, 200)

	// The one that made the cluster: when it starts afresh it must not make another one, though its command line says so.
	victim := r.leader(t, ctx)
	kill(t, r, victim)
	change(t, tail(t, r, victim), func(data []byte) {
		end := len(bytes.TrimRight(data, "\x00"))
		clear(data[end-20:])
	})
	if err := r.Lab.Start(victim); err != nil {
		t.Fatal(err)
	}
	r.answers(t, ctx, victim)
	t.Logf("%s started with a torn last record", victim)

	r.progress(t, ctx, 50)
	kill(t, r, victim)
	change(t, tail(t, r, victim), func(data []byte) {
		data[len(bytes.TrimRight(data, "\x00"))/2] ^= 0x10
	})
	said := len(logOf(t, r.Cluster, victim))
	if err := r.Lab.Start(victim); err != nil {
		t.Fatal(err)
	}
	ends(t, ctx, r.Cluster, victim)
	got := logOf(t, r.Cluster, victim)[said:]
	line := got[strings.LastIndex(got, "error: "):]
	if !strings.Contains(line, "is damaged") || !strings.Contains(line, "vzmaster resync") {
		t.Errorf("it does not say what is wrong and what to do: %s", line)
	}
	t.Logf("%s does not start: %s", victim, strings.TrimSpace(line))
	r.progress(t, ctx, 50)

	resync(t, ctx, r, victim)
	r.progress(t, ctx, 50)
	r.end(t, ctx)
}

// resync has a master that does not run fetch everything from the others, and waits until it votes again.
func resync(t *testing.T, ctx context.Context, r *rig, victim string) {
	t.Helper()
	bin, err := harness.BinDir()
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.Lab.Exec(ctx, victim, filepath.Join(bin, "vzmaster"), "resync", "--id", victim, "--data-dir", "/vz/master")
	if err != nil {
		t.Fatalf("resync: %v: %s", err, out)
	}
	t.Logf("resync: %s", strings.TrimSpace(string(out)))
	if err := r.Lab.Start(victim); err != nil {
		t.Fatal(err)
	}
	r.answers(t, ctx, victim)
	limit, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	poll(t, limit, victim+" votes again", func() error { return votes(limit, r, victim) })
}

// votes tells whether the master of a host has a vote, answers, and is not behind.
func votes(ctx context.Context, r *rig, host string) error {
	conn, err := rpc.Dial(r.masters[0])
	if err != nil {
		return err
	}
	defer conn.Close()
	resp, err := vzpb.NewClusterClient(conn).ListMasters(ctx, &vzpb.ListMastersRequest{})
	if err != nil {
		return err
	}
	var infos []cluster.MasterInfo
	if err := json.Unmarshal(resp.GetJson(), &infos); err != nil {
		return err
	}
	for _, info := range infos {
		if info.ID == host && info.Voter && info.State != nil {
			return nil
		}
	}
	return fmt.Errorf("the masters: %s", resp.GetJson())
}

// kill is SIGKILL of a host's master.
func kill(t *testing.T, r *rig, host string) {
	t.Helper()
	if err := r.Lab.Kill(host, lab.RoleMaster, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// tail is the file with the last records of a master's log.
func tail(t *testing.T, r *rig, host string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(r.Lab.DiskPath(host, "/master"), "wal", "*.wal"))
	if err != nil || len(files) == 0 {
		t.Fatalf("log of %s: %v %v", host, files, err)
	}
	return slices.Max(files)
}

// change rewrites a file.
func change(t *testing.T, path string, f func(data []byte)) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f(data)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
