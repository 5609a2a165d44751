package raftlog_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/pkg/store/raftlog"
	"github.com/vzcluster/vzcluster/pkg/store/storetest"
)

// backend is three masters on pipes. The first bootstraps; the leader writes each one's record and adds it, as the master package does.
type backend struct {
	net *network
	dir string

	mu     sync.Mutex
	open   [3]*member
	joined [3]chan struct{} // closed when the member was added for the first time
}

type member struct {
	*raftlog.Log
	b *backend
	i int
}

func newBackend(t *testing.T) *backend {
	b := &backend{net: newNetwork(), dir: t.TempDir()}
	for i := range b.joined {
		b.joined[i] = make(chan struct{})
	}
	return b
}

func (b *backend) Members() int      { return len(b.open) }
func (b *backend) Addr(i int) string { return fmt.Sprintf("master%d:7700", i) }
func (b *backend) Cut(i int)         { b.net.setCut(raftAddr(i), true) }
func (b *backend) Heal(i int)        { b.net.setCut(raftAddr(i), false) }
func raftAddr(i int) string          { return fmt.Sprintf("master%d:7701", i) }
func id(i int) string                { return fmt.Sprintf("id-%d", i) }

func (b *backend) config(i int) raftlog.Config {
	return raftlog.Config{
		ID:        id(i),
		DataDir:   filepath.Join(b.dir, id(i)),
		RaftAddr:  raftAddr(i),
		APIAddr:   b.Addr(i),
		Bootstrap: i == 0,
		Stream:    b.net.listen(raftAddr(i)),
		Logger:    slog.New(slog.DiscardHandler),
	}
}

func (b *backend) Open(t *testing.T, i int) storetest.Member {
	log, err := raftlog.New(b.config(i))
	if err != nil {
		t.Fatal(err)
	}
	m := &member{log, b, i}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open[i] = m
	return m
}

func (b *backend) Ready(ctx context.Context) error {
	for _, joined := range b.joined {
		select {
		case <-joined:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	// A member that has not heard yet of another one refuses to vote for it.
	for _, m := range b.open {
		for len(m.Servers()) < len(b.open) {
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

func (m *member) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { m.b.join(ctx, m.i) })
	return m.Log.Run(ctx)
}

// join asks all members until a leader has member i in its books.
func (b *backend) join(ctx context.Context, i int) {
	record, _ := json.Marshal(cluster.Master{ID: id(i), RaftAddr: raftAddr(i), APIAddr: b.Addr(i)})
	key := store.MasterKey(id(i))
	for ctx.Err() == nil {
		b.mu.Lock()
		open := b.open
		b.mu.Unlock()
		for _, m := range open {
			if m == nil {
				continue
			}
			_, err := m.Commit(ctx, store.Txn{Put: map[string][]byte{key: record}})
			if err == nil && m.AddVoter(ctx, id(i), raftAddr(i)) == nil {
				b.mu.Lock()
				defer b.mu.Unlock()
				select {
				case <-b.joined[i]:
				default:
					close(b.joined[i])
				}
				return
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Cluster { return newBackend(t) }, storetest.Options{Virtual: true})
}
