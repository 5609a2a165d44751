package main

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// keysPerClient: each client writes its own keys, one after the other, so that no write waits for another client's.
const keysPerClient = 50

// writer is one client of the agreement: a row of compare-and-puts.
type writer struct {
	kv   pb.KVClient
	id   int
	revs [keysPerClient]int64
	n    int
	size int
	// containers makes it write real records, as [fill] has left them, in the place of text that the mirror leaves alone.
	containers bool
}

// write makes one write: if the key is still as this client left it, put a new value.
func (w *writer) write(ctx context.Context) error {
	i := w.n % keysPerClient
	key, value, err := w.record(i)
	if err != nil {
		return err
	}
	txn := &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: value}}}}}
	if w.revs[i] != 0 || !w.containers {
		txn.Compare = []*pb.Compare{{Key: []byte(key), Target: pb.Compare_MOD, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_ModRevision{ModRevision: w.revs[i]}}}
	}
	resp, err := w.kv.Txn(ctx, txn)
	if err != nil {
		return err
	}
	if !resp.Succeeded {
		return fmt.Errorf("key %s: somebody else has written it", key)
	}
	w.revs[i] = resp.Header.Revision
	w.n++
	return nil
}

// record makes the next value of this client's ith key.
func (w *writer) record(i int) (key string, value []byte, err error) {
	if w.containers {
		return container(w.id*keysPerClient+i, 1, cluster.Epoch(w.n))
	}
	value = bytes.Repeat([]byte("."), w.size)
	copy(value, fmt.Sprint(w.n))
	return fmt.Sprintf("bench/%04d-%02d", w.id, i), value, nil
}

// clients are writers that keep their state from one measurement to the next.
type clients struct {
	mu      sync.Mutex
	writers []*writer
	conn    *grpc.ClientConn
	size    int

	containers bool // see writer
}

func (l *clients) first(n int) []*writer {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.writers) < n {
		l.writers = append(l.writers, &writer{kv: pb.NewKVClient(l.conn), id: len(l.writers), size: l.size, containers: l.containers})
	}
	return l.writers[:n]
}

// run has n clients write for d, each as fast as it is answered, after a short time that does not count.
func (l *clients) run(ctx context.Context, n int, d time.Duration) (Figures, error) {
	writers := l.first(n)
	return drive(ctx, n, d, func(ctx context.Context, i int) error { return writers[i].write(ctx) })
}

// warmUp is the part of a measurement that does not count.
const warmUp = 300 * time.Millisecond

// drive calls write from n goroutines for d, each as fast as it is answered, and takes the time of each call.
func drive(ctx context.Context, n int, d time.Duration, write func(ctx context.Context, i int) error) (Figures, error) {
	begin := time.Now().Add(warmUp)
	end := begin.Add(d)
	latencies := make([][]time.Duration, n)
	all, ctx := errgroup.WithContext(ctx)
	for i := range n {
		all.Go(func() error {
			for {
				from := time.Now()
				if from.After(end) {
					return nil
				}
				if err := write(ctx, i); err != nil {
					return err
				}
				if to := time.Now(); from.After(begin) && to.Before(end) {
					latencies[i] = append(latencies[i], to.Sub(from))
				}
			}
		})
	}
	if err := all.Wait(); err != nil {
		return Figures{}, err
	}
	var every []time.Duration
	for _, l := range latencies {
		every = append(every, l...)
	}
	return figures(n, d, every), nil
}
