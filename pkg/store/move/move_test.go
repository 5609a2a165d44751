package move_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/pkg/store/etcdlog"
	"github.com/vzcluster/vzcluster/pkg/store/internal/etcdtest"
	"github.com/vzcluster/vzcluster/pkg/store/move"
	"github.com/vzcluster/vzcluster/pkg/store/raftlog"
)

func TestMain(m *testing.M) { os.Exit(etcdtest.Main(m.Run)) }

var quiet = slog.New(slog.DiscardHandler)

const patience = time.Minute

// backend is a log with its loop.
type backend interface {
	store.Log
	Run(ctx context.Context) error
}

// master runs a store on a log until stopped.
type master struct {
	*store.Store
	term chan uint64
	stop func()
}

func start(t *testing.T, log backend) *master {
	t.Helper()
	under, stopLog := context.WithCancel(context.Background())
	ctx, cancel := context.WithCancel(under)
	m := &master{Store: store.New(log), term: make(chan uint64, 10)}
	done, ended := make(chan error, 2), make(chan error, 1)
	go func() { ended <- log.Run(under) }()
	go func() { done <- m.Run(ctx) }()
	go func() {
		done <- m.Lead(ctx, func(ctx context.Context, term uint64) error {
			m.term <- term
			<-ctx.Done()
			return nil
		})
	}()
	stopped := false
	m.stop = func() {
		if stopped {
			return
		}
		stopped = true
		// As a master does: first what is on top.
		cancel()
		err := errors.Join(<-done, <-done)
		stopLog()
		if err := errors.Join(err, <-ended); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(m.stop)
	return m
}

// lead waits until m leads, and returns its term.
func (m *master) lead(t *testing.T) uint64 {
	t.Helper()
	select {
	case term := <-m.term:
		return term
	case <-time.After(patience):
		t.Fatal("nobody leads")
		return 0
	}
}

// patient returns a context that ends when something hangs.
func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
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

func raft(t *testing.T, dir, id string, bootstrap bool) backend {
	t.Helper()
	addr := freePort(t)
	log, err := raftlog.New(raftlog.Config{ID: id, DataDir: dir, RaftAddr: addr, APIAddr: id + ":7700", Bootstrap: bootstrap, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func etcd(t *testing.T, prefix string, bootstrap bool) backend {
	t.Helper()
	log, err := etcdlog.New(etcdlog.Config{Access: new(etcdtest.Line).Access(prefix), ID: "m1", APIAddr: "m1:7700", Bootstrap: bootstrap,
		TTL: 2 * time.Second, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// fill makes a state of many records, more than one transaction takes.
func fill(t *testing.T, m *master) {
	t.Helper()
	for from := 0; from < 300; from += 100 {
		if _, err := m.Update(patient(t), func(tx *store.Tx) error {
			for i := from; i < from+100; i++ {
				tx.Containers().Put(cluster.Container{CTID: fmt.Sprint(101 + i), Name: fmt.Sprint("c", i), Epoch: cluster.Epoch(i)})
			}
			tx.Next("ctid")
			tx.Masters().Put(cluster.Master{ID: "m1", APIAddr: "m1:7700"})
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// check compares what m holds with what fill made, and that it can be changed.
func check(t *testing.T, m *master, id string) {
	t.Helper()
	st, err := m.Fresh(patient(t))
	if err != nil {
		t.Fatal(err)
	}
	meta, _ := st.Meta()
	counter, _ := st.Counters().Get("ctid")
	if meta.ClusterID != id || st.Containers().Len() != 300 || st.Masters().Len() != 0 || counter.Value != 3 {
		t.Errorf("cluster %s with %d containers, %d masters, counter %d; want %s, 300, 0, 3", meta.ClusterID, st.Containers().Len(), st.Masters().Len(), counter.Value, id)
	}
	for i := range 300 {
		if c, ok := st.Containers().Get(fmt.Sprint(101 + i)); !ok || c.Name != fmt.Sprint("c", i) || c.Epoch != cluster.Epoch(i) {
			t.Fatalf("container %d is %+v", 101+i, c)
		}
	}
	if _, err = m.Update(patient(t), func(tx *store.Tx) error {
		n := 0
		for range tx.Containers().All() {
			n++
		}
		if n != 300 {
			return fmt.Errorf("%d containers", n)
		}
		tx.Containers().Put(cluster.Container{CTID: "999"})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err = m.Update(patient(t), func(tx *store.Tx) error { tx.Containers().Delete("999"); return nil }); err != nil {
		t.Fatal(err)
	}
}

// From raft to etcd and back again: nothing is missing, terms only grow, and the left back end stays out of use.
func TestThereAndBack(t *testing.T) {
	dir, prefix := t.TempDir(), etcdtest.Prefix()
	access := new(etcdtest.Line).Access(prefix)
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")

	m := start(t, raft(t, first, "m1", true))
	term := m.lead(t)
	fill(t, m)
	meta, _ := m.View().Meta()
	if _, err := move.ToEtcd(patient(t), []string{first}, access, false, quiet); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("moved while the master runs: %v", err)
	}
	m.stop()
	result, err := move.ToEtcd(patient(t), []string{first}, access, false, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if result.ClusterID != meta.ClusterID || result.Records["container"] != 300 || result.Records["counter"] != 1 {
		t.Errorf("result %+v", result)
	}
	if err := raft(t, first, "m1", true).Run(patient(t)); err == nil || !strings.Contains(err.Error(), "--store etcd") {
		t.Errorf("the old master starts again: %v", err)
	}

	m = start(t, etcd(t, prefix, false))
	next := m.lead(t)
	if next <= term {
		t.Errorf("term %d after %d", next, term)
	}
	check(t, m, meta.ClusterID)
	if _, err := move.ToRaft(patient(t), access, second, "m2", "127.0.0.1:1", quiet); !errors.Is(err, etcdlog.ErrInUse) {
		t.Errorf("moved while the master runs: %v", err)
	}
	check(t, m, meta.ClusterID)
	m.stop()

	if _, err := move.ToRaft(patient(t), access, second, "m2", "127.0.0.1:1", quiet); err != nil {
		t.Fatal(err)
	}
	if _, err := move.ToRaft(patient(t), access, filepath.Join(dir, "third"), "m3", "127.0.0.1:1", quiet); !errors.Is(err, etcdlog.ErrHeld) {
		t.Errorf("moved twice: %v", err)
	}
	m = start(t, raft(t, second, "m2", false))
	if last := m.lead(t); last <= next {
		t.Errorf("term %d after %d", last, next)
	}
	check(t, m, meta.ClusterID)
}

func TestRefused(t *testing.T) {
	dir, prefix := t.TempDir(), etcdtest.Prefix()
	access := new(etcdtest.Line).Access(prefix)
	if _, err := move.ToRaft(patient(t), access, filepath.Join(dir, "x"), "m1", "127.0.0.1:1", quiet); !errors.Is(err, etcdlog.ErrEmpty) {
		t.Errorf("moved nothing: %v", err)
	}
	var refused *move.RefusedError
	if _, err := move.ToEtcd(patient(t), nil, access, false, quiet); !errors.As(err, &refused) {
		t.Errorf("no directory: %v", err)
	}
	m := start(t, etcd(t, prefix, true))
	m.lead(t)
	m.stop()
	one := start(t, raft(t, filepath.Join(dir, "one"), "m1", true))
	one.lead(t)
	one.stop()
	if _, err := move.ToEtcd(patient(t), []string{filepath.Join(dir, "one")}, access, false, quiet); !errors.Is(err, etcdlog.ErrNotEmpty) {
		t.Errorf("over another cluster: %v", err)
	}
	again := start(t, raft(t, filepath.Join(dir, "one"), "m1", false))
	again.lead(t) // nothing was done to it
}
