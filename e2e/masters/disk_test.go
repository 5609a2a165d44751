package masters

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/e2e/faultfs"
	"github.com/vzcluster/vzcluster/e2e/harness"
	"github.com/vzcluster/vzcluster/e2e/lab"
	"github.com/vzcluster/vzcluster/pkg/cluster"
)

const (
	// hungLimit is how long a leader whose disk hangs may lead on.
	hungLimit = 15 * time.Second
	// failedLimit is the same for one whose disk is full or fails: it knows at once.
	failedLimit = 5 * time.Second
)

// disks are the data directories of a lab's masters, each on a disk that fails on command.
type disks map[string]*faultfs.Disk

// faultyDisks mounts a disk for each of three masters. It is called before the lab is up: the hosts see what is mounted then, and
// the disks must outlive them.
func faultyDisks(t *testing.T) (dir string, all disks) {
	t.Helper()
	dir, all = t.TempDir(), disks{}
	for _, host := range []string{"m1", "m2", "m3"} {
		backing, at := filepath.Join(dir, host+".below"), filepath.Join(dir, host)
		for _, d := range []string{backing, at} {
			if err := os.Mkdir(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		disk, err := faultfs.Mount(backing, at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := disk.Unmount(); err != nil {
				t.Error(err)
			}
		})
		all[host] = disk
	}
	return dir, all
}

// onDisks brings a cluster up whose masters have their data on disks that fail on command.
func onDisks(t *testing.T, ctx context.Context, name string, masterArgs ...string) (*harness.Cluster, disks) {
	t.Helper()
	dir, all := faultyDisks(t)
	c := up(t, lab.Config{Name: name, Masters: 3, MasterArgs: masterArgs})
	t.Cleanup(func() {
		for _, d := range all {
			d.Heal() // or the hosts could not be taken down
		}
	})
	for host := range all {
		if err := c.Lab.Kill(host, lab.RoleMaster, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		data := c.Lab.DiskPath(host, "/master")
		if out, err := exec.CommandContext(ctx, "cp", "-a", data+"/.", filepath.Join(dir, host)).CombinedOutput(); err != nil {
			t.Fatalf("move the data of %s: %v: %s", host, err, out)
		}
		if err := os.RemoveAll(data); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(dir, host), data); err != nil {
			t.Fatal(err)
		}
		if err := c.Lab.Start(host); err != nil {
			t.Fatal(err)
		}
		ready, cancel := context.WithTimeout(ctx, time.Minute)
		err := c.Lab.WaitReady(ready)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
	return c, all
}

// A leader whose disk hangs, is full, or fails, is replaced; it says why; nothing acknowledged is lost; and when the disk is well
// again, so is the master.
func TestLeaderDiskFails(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c, all := onDisks(t, ctx, "masters-disk")
	r := drive(t, c)
	r.progress(t, ctx, 50)
	for _, test := range []struct {
		name  string
		fail  func(d *faultfs.Disk)
		limit time.Duration
		says  string
		stuck bool // the process can't end before the disk is well
	}{
		{"hangs", (*faultfs.Disk).Hang, hungLimit, "the disk hangs", true},
		{"is full", (*faultfs.Disk).Fill, failedLimit, "no space left on device", false},
		{"fails its fsync", (*faultfs.Disk).FailSync, failedLimit, "input/output error", false},
	} {
		victim := r.leader(t, ctx)
		said := len(logOf(t, c, victim))
		at := time.Now()
		test.fail(all[victim])
		limit, stop := context.WithTimeout(ctx, test.limit+5*time.Second)
		next := ""
		poll(t, limit, "the disk of "+victim+" "+test.name+": another leader", func() error {
			st, err := r.statusBut(limit, victim)
			if err == nil && (st.Leader == victim || st.Leader == "") {
				err = fmt.Errorf("%q leads", st.Leader)
			}
			next = st.Leader
			return err
		})
		led := time.Now()
		var first time.Time
		poll(t, limit, "a write through "+next, func() (err error) {
			var ok bool
			if first, ok = r.history.FirstAfter(led); !ok {
				err = errNoWrite
			}
			return err
		})
		stop()
		took := first.Sub(at)
		t.Logf("the disk of the leader %s: first write through another after %v", test.name, took.Round(time.Millisecond))
		if took > test.limit {
			t.Errorf("the disk of the leader %s: first write after %v, want %v at most", test.name, took, test.limit)
		}
		if !test.stuck {
			ends(t, ctx, c, victim)
		}
		poll(t, ctx, victim+" says why", func() error {
			if got := logOf(t, c, victim)[said:]; !strings.Contains(got, "error: ") || !strings.Contains(got, test.says) {
				return fmt.Errorf("its log: ...%s", got[max(0, len(got)-500):])
			}
			return nil
		})
		all[victim].Heal()
		ends(t, ctx, c, victim)
		if err := c.Lab.Start(victim); err != nil {
			t.Fatal(err)
		}
		r.answers(t, ctx, victim)
		r.progress(t, ctx, 50)
	}
	r.end(t, ctx)
}

// ends waits until the master of a host has ended by itself.
func ends(t *testing.T, ctx context.Context, c *harness.Cluster, host string) {
	t.Helper()
	limit, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	poll(t, limit, "the master of "+host+" ends", func() error {
		if p := process(t, c, host); p.Running {
			return fmt.Errorf("it runs as process %d", p.Pid)
		} else if p.Exit != "exit 1" {
			t.Errorf("the master of %s ended with %s, want exit 1", host, p.Exit)
		}
		return nil
	})
}

// process is what the host knows of its master.
func process(t *testing.T, c *harness.Cluster, host string) lab.Process {
	t.Helper()
	st, err := c.Lab.Status()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range st.Hosts {
		for _, p := range h.Processes {
			if h.Name == host && p.Role == lab.RoleMaster {
				return p
			}
		}
	}
	t.Fatalf("host %s has no master", host)
	return lab.Process{}
}

// logOf is what the master of a host has said so far.
func logOf(t *testing.T, c *harness.Cluster, host string) string {
	t.Helper()
	b, err := os.ReadFile(c.Lab.LogPath(host, lab.RoleMaster))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// statusBut asks the masters but one how the cluster is.
func (r *rig) statusBut(ctx context.Context, host string) (st cluster.Status, err error) {
	for i := range r.masters {
		if r.masters[i] == r.addr(host) {
			continue
		}
		if st, err = statusOf(ctx, r.masters[i]); err == nil {
			break
		}
	}
	return st, err
}
