package etcdlog_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vzcluster/vzcluster/pkg/store/etcdlog"
	"github.com/vzcluster/vzcluster/pkg/store/internal/etcdtest"
	"github.com/vzcluster/vzcluster/pkg/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(etcdtest.Main(m.Run)) }

// backend is three masters on the etcd of this test process, below a prefix of their own.
type backend struct {
	prefix string
	lines  [3]etcdtest.Line
}

func newBackend() *backend { return &backend{prefix: etcdtest.Prefix()} }

func (b *backend) Members() int      { return len(b.lines) }
func (b *backend) Addr(i int) string { return fmt.Sprintf("master%d:7700", i) }
func (b *backend) Cut(i int)         { b.lines[i].Cut(true) }
func (b *backend) Heal(i int)        { b.lines[i].Cut(false) }

func (b *backend) config(i int) etcdlog.Config {
	return etcdlog.Config{
		Access:    b.lines[i].Access(b.prefix),
		ID:        fmt.Sprint("m", i),
		APIAddr:   b.Addr(i),
		Bootstrap: true,
		TTL:       2 * time.Second,
		Logger:    slog.New(slog.DiscardHandler),
	}
}

func (b *backend) Open(t *testing.T, i int) storetest.Member {
	log, err := etcdlog.New(b.config(i))
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// Ready waits until all three stand for leader.
func (b *backend) Ready(ctx context.Context) error { return b.standing(ctx, b.Members()) }

// standing waits until n members stand for leader.
func (b *backend) standing(ctx context.Context, n int) error {
	client := client(b.prefix)
	defer client.Close()
	for {
		resp, err := client.Get(ctx, b.prefix+"/election/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			return err
		}
		if int(resp.Count) == n {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// client is one that no test cuts off.
func client(prefix string) *clientv3.Client {
	a := new(etcdtest.Line).Access(prefix)
	c, err := clientv3.New(clientv3.Config{Endpoints: a.Endpoints, DialOptions: a.DialOptions})
	if err != nil {
		panic(err) // no address is looked up and nothing is dialled here
	}
	return c
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Cluster { return newBackend() }, storetest.Options{})
}
