package raftlog_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/pkg/store/raftlog"
)

// running is one member with its Lead.
type running struct {
	*raftlog.Log
	stop func() error // waits, and returns what Run returned
	led  chan uint64  // the terms that it led in
}

func run(t *testing.T, conf raftlog.Config) *running {
	t.Helper()
	log, err := raftlog.New(conf)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Log: log, led: make(chan uint64, 100)}
	done, lead := make(chan error, 1), make(chan error, 1)
	go func() { done <- log.Run(ctx) }()
	go func() {
		lead <- log.Lead(ctx, func(ctx context.Context, term uint64) error {
			r.led <- term
			<-ctx.Done()
			return nil
		})
	}()
	stopped := false
	r.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		<-lead
		return <-done
	}
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *running) put(t *testing.T, key, value string) store.Rev {
	t.Helper()
	rev, err := r.Commit(t.Context(), store.Txn{Put: map[string][]byte{key: []byte(value)}})
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	return rev
}

// wait follows the log until it holds key.
func (r *running) wait(t *testing.T, key, value string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	found := false
	err := r.Follow(ctx, func(b store.Batch) {
		if kv, ok := b.Put[key]; ok && string(kv.Value) == value {
			found = true
			cancel()
		}
	})
	if !found {
		t.Fatalf("%s=%s does not arrive: %v", key, value, err)
	}
}

// A member that was away for longer than the log is kept gets a snapshot from the leader, and starts from it afterwards.
func TestSnapshotFromTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(t)
		conf := func(i int) raftlog.Config {
			c := b.config(i)
			c.TrailingLogs = 1
			return c
		}
		lead, away := run(t, conf(0)), run(t, conf(1))
		<-lead.led
		if err := lead.AddVoter(t.Context(), id(1), raftAddr(1)); err != nil {
			t.Fatal(err)
		}
		third := run(t, conf(2))
		if err := lead.AddVoter(t.Context(), id(2), raftAddr(2)); err != nil {
			t.Fatal(err)
		}
		lead.put(t, "x", "first")
		away.wait(t, "x", "first")
		third.wait(t, "x", "first")
		if err := away.stop(); err != nil {
			t.Fatal(err)
		}
		// More than one segment of the log on disk: within one, the leader can still read what it has dropped.
		large := strings.Repeat("v", 1<<20)
		for i := range 14 {
			lead.put(t, fmt.Sprint("k", i), large)
		}
		if err := lead.Snapshot(); err != nil {
			t.Fatal(err)
		}
		lead.put(t, "x", "last")
		if shots := snapshots(t, conf(1)); len(shots) != 0 {
			t.Fatalf("the member that was away has snapshots: %v", shots)
		}
		away = run(t, conf(1))
		away.wait(t, "x", "last")
		away.wait(t, "k13", large)
		if shots := snapshots(t, conf(1)); len(shots) == 0 {
			t.Error("it caught up without a snapshot: this test tests nothing")
		}
		for range 2 {
			if err := lead.Snapshot(); err != nil {
				t.Fatal(err)
			}
			lead.put(t, "x", "later")
		}
		if shots := snapshots(t, conf(0)); len(shots) != 2 {
			t.Errorf("%d snapshots are kept, want 2", len(shots))
		}
		if err := away.stop(); err != nil {
			t.Fatal(err)
		}
		away = run(t, conf(1))
		away.wait(t, "x", "later")
		away.wait(t, "k0", large)
	})
}

func snapshots(t *testing.T, c raftlog.Config) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(c.DataDir, "snapshots"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// A leader that is stopped on purpose hands over, so that nobody has to wait for an election time-out.
func TestStoppedLeaderHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(t)
		lead, other := run(t, b.config(0)), run(t, b.config(1))
		<-lead.led
		if err := lead.AddVoter(t.Context(), id(1), raftAddr(1)); err != nil {
			t.Fatal(err)
		}
		third := run(t, b.config(2))
		if err := lead.AddVoter(t.Context(), id(2), raftAddr(2)); err != nil {
			t.Fatal(err)
		}
		lead.put(t, "x", "1")
		other.wait(t, "x", "1")
		third.wait(t, "x", "1")
		start := time.Now()
		if err := lead.stop(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-other.led:
		case <-third.led:
		}
		if d := time.Since(start); d >= time.Second {
			t.Errorf("the next leader stood after %v: that was an election", d)
		}
	})
}

func TestBeforeAndAfterRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(t)
		log, err := raftlog.New(b.config(0))
		if err != nil {
			t.Fatal(err)
		}
		idle := func() {
			t.Helper()
			if _, err := log.Commit(t.Context(), store.Txn{Del: []string{"x"}}); !errors.Is(err, store.ErrNotLeader) {
				t.Errorf("commit: %v", err)
			}
			if _, err := log.ReadIndex(t.Context()); !errors.Is(err, store.ErrNotLeader) {
				t.Errorf("read index: %v", err)
			}
			if err := log.AddVoter(t.Context(), "x", "y"); !errors.Is(err, store.ErrNotLeader) {
				t.Errorf("add voter: %v", err)
			}
			if addr, ok := log.Leader(); ok || log.Servers() != nil || log.Stats() != nil {
				t.Errorf("leader %q, servers %v, stats %v", addr, log.Servers(), log.Stats())
			}
		}
		idle()
		ctx, cancel := context.WithCancel(t.Context())
		done, led := make(chan error), make(chan struct{})
		go log.Lead(ctx, func(ctx context.Context, _ uint64) error { close(led); <-ctx.Done(); return nil })
		go func() { done <- log.Run(ctx) }()
		<-led
		if addr, ok := log.Leader(); !ok || addr != b.Addr(0) {
			t.Errorf("leader %q, want its own address before there is a record", addr)
		}
		if got := log.Servers(); len(got) != 1 || got[0] != (raftlog.Server{ID: id(0), RaftAddr: raftAddr(0), Voter: true, Leader: true}) {
			t.Errorf("servers: %+v", got)
		}
		if log.Stats()["state"] != "Leader" {
			t.Errorf("stats: %v", log.Stats())
		}
		if err := log.AddVoter(t.Context(), "other", raftAddr(0)); err == nil || !strings.Contains(err.Error(), "belongs to") {
			t.Errorf("two masters with one address: got %v", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		idle()
		if err := log.Follow(t.Context(), func(store.Batch) {}); err == nil {
			t.Error("follow a log that has ended")
		}
	})
}

// The one member that gives up gets the leadership back, since nobody else is there, but not at once.
func TestSoleLeaderTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(t)
		log, err := raftlog.New(b.config(0))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- log.Run(ctx) }()
		var at []time.Time
		err = log.Lead(ctx, func(context.Context, uint64) error {
			if at = append(at, time.Now()); len(at) == 3 {
				cancel()
			}
			return errors.New("not now")
		})
		if err != nil || len(at) != 3 || at[2].Sub(at[1]) < time.Second {
			t.Errorf("led at %v: %v", at, err)
		}
		<-done
	})
}

// The real transport, once: everything else runs on pipes.
func TestTCP(t *testing.T) {
	dir := t.TempDir()
	conf := func(i int) raftlog.Config {
		return raftlog.Config{ID: id(i), DataDir: filepath.Join(dir, id(i)), RaftAddr: freePort(t), Bootstrap: i == 0}
	}
	first, second := conf(0), conf(1)
	lead, other := run(t, first), run(t, second)
	<-lead.led
	if err := lead.AddVoter(t.Context(), second.ID, second.RaftAddr); err != nil {
		t.Fatal(err)
	}
	lead.put(t, "x", "1")
	other.wait(t, "x", "1")
	if err := other.stop(); err != nil {
		t.Error(err)
	}
	if err := lead.stop(); err != nil {
		t.Error(err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
