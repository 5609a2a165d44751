package masters

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/e2e/harness"
	"github.com/vzcluster/vzcluster/e2e/lab"
	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// masterDaemon is the command line of host mN's master, as an operator would write it: the first one founds the cluster, the others
// join it.
func masterDaemon(t *testing.T, host string) lab.Daemon {
	t.Helper()
	bin, err := harness.BinDir()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if _, err := fmt.Sscanf(host, "m%d", &n); err != nil {
		t.Fatal(err)
	}
	ip := fmt.Sprintf("10.77.0.%d", 10+n)
	argv := []string{filepath.Join(bin, "vzmaster"), "--id", host, "--listen", ip + ":7700", "--raft-listen", ip + ":7701", "--data-dir", "/vz/master"}
	if n == 1 {
		argv = append(argv, "--bootstrap")
	} else {
		argv = append(argv, "--join", "10.77.0.11:7700")
	}
	return lab.Daemon{Role: lab.RoleMaster, Argv: argv}
}

// TestGrowAndShrink takes one master to three, to five, and back to three, the leader among those that go, while clients write and
// read. Then a master that nobody can reach is taken in and out again, which must harm nothing; and what would leave the cluster
// worse off is refused.
func TestGrowAndShrink(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	first := masterDaemon(t, "m1")
	c := bring(t, lab.Config{Name: "masters-size", Masters: 5, Daemons: func(h lab.Host) []lab.Daemon {
		if h.Name == "m1" {
			return []lab.Daemon{first}
		}
		return nil
	}}, harness.Boot)
	r := drive(t, c)
	r.progress(t, ctx, 50)
	r.voters(t, ctx, "m1")

	for _, group := range [][]string{{"m2", "m3"}, {"m4", "m5"}} {
		for _, host := range group {
			if err := c.Lab.SetDaemons(host, masterDaemon(t, host)); err != nil {
				t.Fatal(err)
			}
			if err := c.Lab.Start(host); err != nil {
				t.Fatal(err)
			}
		}
		want := []string{"m1", "m2", "m3", "m4", "m5"}[:1+2*map[string]int{"m2": 1, "m4": 2}[group[0]]]
		r.voters(t, ctx, want...)
		r.progress(t, ctx, 50)
		t.Logf("%d masters vote", len(want))
	}

	// Four would survive no more than three.
	if res := r.cli(t, ctx, "master", "remove", "m5"); res.Code != 4 {
		t.Errorf("leaving an even number of voters: exit %d, %s; want 4", res.Code, res.Stderr)
	}
	leader := r.leader(t, ctx)
	other := "m5"
	if leader == other {
		other = "m4"
	}
	if _, err := r.Must(ctx, "master", "remove", leader, other); err != nil {
		t.Fatal(err)
	}
	left := slices.DeleteFunc([]string{"m1", "m2", "m3", "m4", "m5"}, func(h string) bool { return h == leader || h == other })
	r.voters(t, ctx, left...)
	r.progress(t, ctx, 50)
	t.Logf("%s (which led) and %s removed; %s vote", leader, other, strings.Join(left, ", "))

	r.unreachable(t, ctx, left)
	r.end(t, ctx)
}

// unreachable takes a master in that is not there, and out again.
func (r *rig) unreachable(t *testing.T, ctx context.Context, members []string) {
	t.Helper()
	if _, err := r.Must(ctx, "master", "add", "m9", "--api", "10.77.0.99:7700", "--raft", "10.77.0.99:7701", "--detach"); err != nil {
		t.Fatal(err)
	}
	r.progress(t, ctx, 50)
	r.voters(t, ctx, members...)
	infos, err := r.list(ctx)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(infos, func(m cluster.MasterInfo) bool { return m.ID == "m9" })
	if i < 0 || infos[i].Voter || infos[i].State != nil {
		t.Errorf("an unreachable master that was added: %+v; want it in the list, silent, without a vote", infos)
	}
	if _, err := r.Must(ctx, "master", "remove", "m9"); err != nil {
		t.Fatal(err)
	}
	r.progress(t, ctx, 50)
	if infos, err = r.list(ctx); err != nil || len(infos) != len(members) {
		t.Errorf("after the removal: %d masters, %v; want %d", len(infos), err, len(members))
	}
}

// list is `master list`.
func (r *rig) list(ctx context.Context) ([]cluster.MasterInfo, error) {
	var infos []cluster.MasterInfo
	return infos, r.JSON(ctx, &infos, "master", "list")
}

// cli runs the CLI and wants any exit code.
func (r *rig) cli(t *testing.T, ctx context.Context, args ...string) harness.Result {
	t.Helper()
	res, err := r.CLI(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// voters waits until just these masters vote, and all of them answer.
func (r *rig) voters(t *testing.T, ctx context.Context, want ...string) {
	t.Helper()
	limit, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	poll(t, limit, "votes of "+strings.Join(want, ", "), func() error {
		infos, err := r.list(limit)
		if err != nil {
			return err
		}
		var have []string
		for _, m := range infos {
			if m.Voter && m.State == nil {
				return fmt.Errorf("%s does not answer: %s", m.ID, m.Error)
			}
			if m.Voter {
				have = append(have, m.ID)
			}
		}
		if !slices.Equal(have, want) {
			return fmt.Errorf("%s vote", strings.Join(have, ", "))
		}
		return nil
	})
}
