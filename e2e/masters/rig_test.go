package masters

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vzcluster/vzcluster/e2e/harness"
	"github.com/vzcluster/vzcluster/e2e/lab"
	"github.com/vzcluster/vzcluster/e2e/load"
	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/rpc"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

const (
	// registers is how many records the load writes: few enough that clients meet.
	registers = 4
	// judging bounds the search of the linearizability checker.
	judging = 60 * time.Second
)

// rig is a lab of masters under load.
type rig struct {
	*harness.Cluster
	masters []string // addresses of all masters of the lab, running or not
	history *load.History
	load    *load.Load

	stop func() error
}

// up brings a lab up, with a cluster that is ready, that is taken down with the test.
func up(t *testing.T, cfg lab.Config) *harness.Cluster {
	t.Helper()
	return bring(t, cfg, harness.Up)
}

func bring(t *testing.T, cfg lab.Config, how func(context.Context, lab.Config) (*harness.Cluster, error)) *harness.Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cfg.Ephemeral = true
	c, err := how(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(t.Failed()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// drive puts c's masters under load until [rig.end] or the end of the test.
func drive(t *testing.T, c *harness.Cluster) *rig {
	t.Helper()
	masters, err := c.Lab.Masters()
	if err != nil {
		t.Fatal(err)
	}
	names := load.Names(registers)
	history := load.NewHistory()
	r := &rig{Cluster: c, masters: masters, history: history,
		load: &load.Load{History: history, Registers: names, Writers: 6, Readers: 6, Pause: 10 * time.Millisecond}}

	ctx, cancel := context.WithCancel(context.Background())
	var all errgroup.Group
	all.Go(func() error { return load.Nodes(ctx, masters, names) })
	ready, done := context.WithTimeout(ctx, time.Minute)
	defer done()
	waitErr := load.WaitNodes(ready, masters, names)
	working, rest := context.WithCancel(ctx)
	if waitErr == nil {
		all.Go(func() error {
			// The nodes go when the clients have ended.
			defer cancel()
			return r.load.Run(working, masters, 30*time.Second)
		})
	}
	ended := false
	r.stop = func() error {
		if ended {
			return nil
		}
		ended = true
		rest()
		if waitErr != nil {
			cancel()
		}
		return all.Wait()
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	if waitErr != nil {
		t.Fatal(waitErr)
	}
	return r
}

// end stops the load and judges everything that was recorded.
func (r *rig) end(t *testing.T, ctx context.Context) {
	t.Helper()
	if err := r.stop(); err != nil {
		t.Fatalf("the load: %v", err)
	}
	reads, writes, failed := r.history.Counts()
	acked := r.history.Acknowledged()
	lost, err := load.Lost(ctx, r.masters, acked)
	if err != nil {
		t.Fatal(err)
	}
	if len(lost) > 0 {
		t.Errorf("%d of %d acknowledged writes are lost, the first: %+v", len(lost), len(acked), lost[0])
	}
	begin := time.Now()
	if err := r.history.Check(judging); err != nil {
		t.Errorf("porcupine: %v", err)
		return
	}
	t.Logf("porcupine: ok: %d reads and %d writes on %d registers are linearizable, judged in %v; %d calls failed on the way; no acknowledged write lost",
		reads, writes, registers, time.Since(begin).Round(time.Millisecond), failed)
	if reads < 100 || writes < 100 {
		t.Errorf("only %d reads and %d writes: the load hardly ran", reads, writes)
	}
}

// progress waits until n more writes are acknowledged: the load runs.
func (r *rig) progress(t *testing.T, ctx context.Context, n int) {
	t.Helper()
	_, before, _ := r.history.Counts()
	poll(t, ctx, fmt.Sprintf("%d more writes", n), func() error {
		if _, now, _ := r.history.Counts(); now < before+n {
			return fmt.Errorf("%d so far", now-before)
		}
		return nil
	})
}

// poll waits until f has no objection.
func poll(t *testing.T, ctx context.Context, what string, f func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: %v: %v", what, err, ctx.Err())
		}
	}
}

// status asks one master after the other how the cluster is.
func (r *rig) status(ctx context.Context) (cluster.Status, error) {
	var last error
	for _, addr := range r.masters {
		st, err := statusOf(ctx, addr)
		if err == nil {
			return st, nil
		}
		last = err
	}
	return cluster.Status{}, last
}

func statusOf(ctx context.Context, addr string) (cluster.Status, error) {
	var st cluster.Status
	conn, err := rpc.Dial(addr)
	if err != nil {
		return st, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	resp, err := vzpb.NewClusterClient(conn).Status(ctx, &vzpb.StatusRequest{})
	if err != nil {
		return st, err
	}
	return st, json.Unmarshal(resp.GetJson(), &st)
}

// leader waits for one and returns its host.
func (r *rig) leader(t *testing.T, ctx context.Context) string {
	t.Helper()
	var host string
	poll(t, ctx, "a leader", func() error {
		st, err := r.status(ctx)
		if err == nil && st.Leader == "" {
			err = fmt.Errorf("nobody leads")
		}
		host = st.Leader
		return err
	})
	return host
}

// answers waits until a host's own master answers a read: it runs and has found the leader.
func (r *rig) answers(t *testing.T, ctx context.Context, host string) {
	t.Helper()
	poll(t, ctx, host+" answers", func() error {
		_, err := statusOf(ctx, r.addr(host))
		return err
	})
}

// addr is the address of a host's master.
func (r *rig) addr(host string) string {
	var n int
	if _, err := fmt.Sscanf(host, "m%d", &n); err != nil || n < 1 || n > len(r.masters) {
		return host
	}
	return r.masters[n-1]
}

// medianAndWorst of durations; zeros of none.
func medianAndWorst(ds []time.Duration) (median, worst time.Duration) {
	if len(ds) == 0 {
		return 0, 0
	}
	s := slices.Sorted(slices.Values(ds))
	return s[len(s)/2], s[len(s)-1]
}

var errNoWrite = errors.New("a leader answers, but no write was acknowledged")
