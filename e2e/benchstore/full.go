package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sync/errgroup"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

const (
	// perTxn is how many records go into one transaction while the state is filled.
	perTxn = 60
	// fullSnapshots is how many snapshots are taken of the full state.
	fullSnapshots = 5
	// fullClients write while they are taken.
	fullClients = 4
	// MaxPause is what a snapshot may keep a write waiting, p99.
	MaxPause = 100 * time.Millisecond
)

// Full is what a state of many containers costs on the embedded raft.
type Full struct {
	Containers int           `json:"containers"`
	Nodes      int           `json:"nodes"`
	Fill       time.Duration `json:"fill_ns"`
	Memory     uint64        `json:"memory_bytes"`   // of the leader, with the mirror, before a snapshot
	Peak       uint64        `json:"peak_bytes"`     // of the leader, ever
	Bytes      int64         `json:"snapshot_bytes"` // on disk
	Snapshot   time.Duration `json:"snapshot_median_ns"`
	Worst      time.Duration `json:"snapshot_worst_ns"`
	Before     Figures       `json:"before"` // writes with no snapshot
	During     Figures       `json:"during"` // writes that were under way while a snapshot was written
	Restart    time.Duration `json:"restart_ns"`
}

// full fills three members with containers, and measures memory, snapshots, and what writers see of a snapshot.
func (b *bench) full(ctx context.Context) (err error) {
	dir := filepath.Join(b.dir, "full")
	g, err := newGroup(ctx, raftKind, dir, b.extra()...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close(), os.RemoveAll(dir)) }()
	lead, err := g.leader(ctx)
	if err != nil {
		return err
	}
	f := &Full{Containers: b.rows, Nodes: b.rows / 100}
	b.report.Full = f
	begin := time.Now()
	if err := fill(ctx, lead, f.Containers, f.Nodes); err != nil {
		return err
	}
	f.Fill = time.Since(begin)
	if f.Memory, _, err = lead.memory(); err != nil {
		return err
	}
	writers := &clients{conn: lead.conn, containers: true}
	if f.Before, err = writers.run(ctx, fullClients, b.time); err != nil {
		return err
	}
	if err := f.snapshots(ctx, lead, writers, filepath.Join(dir, raftKind, lead.name)); err != nil {
		return err
	}
	if _, f.Peak, err = lead.memory(); err != nil {
		return err
	}
	if f.Bytes, err = newestSnapshot(filepath.Join(dir, raftKind, lead.name)); err != nil {
		return err
	}
	if f.Restart, err = g.restart(ctx, lead); err != nil {
		return err
	}
	f.print()
	if f.During.P99 > MaxPause {
		return fmt.Errorf("a snapshot keeps writes waiting for %s ms (p99), more than %v", ms(f.During.P99), MaxPause)
	}
	return nil
}

func (f *Full) print() {
	fmt.Printf("raft with %d containers on %d nodes: filled in %v; memory of the leader %d MiB, at most %d MiB; %d MiB on disk\n",
		f.Containers, f.Nodes, f.Fill.Round(time.Millisecond), f.Memory>>20, f.Peak>>20, f.Bytes>>20)
	fmt.Printf("  snapshot: median %v, worst %v; back after kill -9 and start in %v\n", f.Snapshot.Round(time.Millisecond),
		f.Worst.Round(time.Millisecond), f.Restart.Round(time.Millisecond))
	fmt.Printf("  writes without a snapshot: p50 %s ms, p99 %s ms, longest %s ms; while one is written: p50 %s ms, p99 %s ms, longest %s ms\n",
		ms(f.Before.P50), ms(f.Before.P99), ms(f.Before.Max), ms(f.During.P50), ms(f.During.P99), ms(f.During.Max))
}

// fill writes records as a real cluster has them.
func fill(ctx context.Context, lead *member, containers, nodes int) error {
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(8)
	kv := pb.NewKVClient(lead.conn)
	batch := &pb.TxnRequest{}
	flush := func() {
		t := batch
		batch = &pb.TxnRequest{}
		all.Go(func() error {
			_, err := kv.Txn(ctx, t)
			return err
		})
	}
	for i := range containers + nodes {
		key, value, err := record(i, nodes)
		if err != nil {
			return err
		}
		batch.Success = append(batch.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: value}}})
		if len(batch.Success) == perTxn {
			flush()
		}
	}
	if len(batch.Success) > 0 {
		flush()
	}
	return all.Wait()
}

// record makes the ith one: the nodes first, then containers that are spread over them.
func record(i, nodes int) (key string, value []byte, err error) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 678900000, time.UTC)
	if i < nodes {
		n := cluster.Node{Name: fmt.Sprintf("node%05d", i), State: cluster.NodeOnline, BootID: "f3b0c442-98fc-4c14-9afb-f4c8996fb924", AgentStarts: 3, Created: now, Changed: now,
			Info: cluster.NodeInfo{Address: "10.0.0.1:7710", Capacity: cluster.Resources{CPUMilli: 64000, MemoryBytes: 512 << 30, DiskBytes: 8 << 40}, Version: "v1.0.0",
				Features: cluster.Features{Kernel: "6.12.1", CRIU: "4.2.1", CRIUVersion: 40201, Cgroup: "v2", Arch: "amd64", CPUFlags: strings.Fields(strings.Repeat("avx2 sse4_2 ", 30)), Transfer: []int32{1}}}}
		value, err = json.Marshal(n)
		return "node/" + n.Name, value, err
	}
	return container(i-nodes, nodes, 1)
}

// container makes the record of the ith one at an epoch.
func container(i, nodes int, epoch cluster.Epoch) (key string, value []byte, err error) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 678900000, time.UTC)
	c := cluster.Container{CTID: fmt.Sprint(101 + i), Name: fmt.Sprintf("web-frontend-%d", i), Node: fmt.Sprintf("node%05d", i%nodes), Epoch: epoch, SpecGen: 3, RunGen: 2,
		Want: cluster.WantRunning, State: cluster.ContainerRunning, Digest: strings.Repeat("ab", 32), IDBase: 1000000 + 65536, BootID: "f3b0c442-98fc-4c14-9afb-f4c8996fb924",
		Created: now, Changed: now, Spec: cluster.Spec{Template: "debian-13", Hostname: fmt.Sprintf("web-frontend-%d", i), OnBoot: true, CPUUnits: 1000, NumProc: 8000,
			Resources: cluster.Resources{CPUMilli: 2000, MemoryBytes: 4 << 30, DiskBytes: 40 << 30},
			Net:       cluster.Network{MAC: "02:76:7a:11:22:33", Addresses: []string{"10.1.2.3/16"}, Gateway: "10.1.0.1", Nameserver: []string{"10.1.0.1"}}}}
	value, err = json.Marshal(c)
	return "container/" + c.CTID, value, err
}

// snapshots takes some on the leader while clients write, and counts the writes that were under way meanwhile.
func (f *Full) snapshots(ctx context.Context, lead *member, writers *clients, data string) error {
	var took, waits []time.Duration
	var total time.Duration
	for range fullSnapshots {
		done, latencies, err := writers.until(ctx, fullClients, func() (time.Duration, error) { return lead.snapshot(ctx, data) })
		if err != nil {
			return err
		}
		took, waits, total = append(took, done), append(waits, latencies...), total+done
	}
	f.Snapshot, f.Worst = quantile(sorted(took), 0.5), quantile(sorted(took), 1)
	f.During = figures(fullClients, total, waits)
	return nil
}

// until has n clients write until work is done, and returns the latencies of all writes that overlap with it.
func (l *clients) until(ctx context.Context, n int, work func() (time.Duration, error)) (time.Duration, []time.Duration, error) {
	var over atomic.Bool
	latencies := make([][]time.Duration, n)
	all, ctx := errgroup.WithContext(ctx)
	for i, w := range l.first(n) {
		all.Go(func() error {
			for !over.Load() {
				from := time.Now()
				if err := w.write(ctx); err != nil {
					return err
				}
				latencies[i] = append(latencies[i], time.Since(from))
			}
			return nil
		})
	}
	took, err := work()
	over.Store(true)
	if err := errors.Join(err, all.Wait()); err != nil {
		return 0, nil, err
	}
	var every []time.Duration
	for _, l := range latencies {
		every = append(every, l...)
	}
	return took, every, nil
}

// snapshot has the member take one and returns how long that took by its own clock.
func (m *member) snapshot(ctx context.Context, data string) (time.Duration, error) {
	if err := os.Remove(snapshotsFile(data)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	if err := m.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		return 0, err
	}
	for {
		line, err := os.ReadFile(snapshotsFile(data))
		if err == nil && strings.HasSuffix(string(line), "\n") {
			return time.ParseDuration(strings.TrimSpace(string(line)))
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-m.exited:
			return 0, fmt.Errorf("%s ended: %s", m.name, tail(m.log))
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// memory reads what the process has resident, and had at most. Bytes.
func (m *member) memory() (now, peak uint64, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", m.cmd.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var kib uint64
		if _, err := fmt.Sscanf(s.Text(), "VmRSS: %d kB", &kib); err == nil {
			now = kib << 10
		}
		if _, err := fmt.Sscanf(s.Text(), "VmHWM: %d kB", &kib); err == nil {
			peak = kib << 10
		}
	}
	return now, peak, nil
}

// newestSnapshot returns the size of the largest state file, in bytes.
func newestSnapshot(data string) (int64, error) {
	files, err := filepath.Glob(filepath.Join(data, "snapshots", "*", "state.bin"))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("%s: there is no snapshot: %w", data, errors.Join(err, os.ErrNotExist))
	}
	var most int64
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			return 0, err
		}
		most = max(most, st.Size())
	}
	return most, nil
}

// restart kills a member and returns how long it takes, once it is started, until it takes part again.
func (g *group) restart(ctx context.Context, m *member) (time.Duration, error) {
	if err := m.stop(syscall.SIGKILL); err != nil {
		return 0, err
	}
	if _, err := g.leader(ctx); err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := m.start(); err != nil {
		return 0, err
	}
	_, err := g.leader(ctx)
	return time.Since(begin), err
}
