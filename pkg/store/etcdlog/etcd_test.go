package etcdlog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/store/etcdlog"
	"github.com/vzcluster/vzcluster/pkg/store/storetest"
)

// endpoint is the one etcd of this test process; each test has a prefix of its own.
var endpoint string

func TestMain(m *testing.M) { os.Exit(withEtcd(m.Run)) }

// withEtcd runs f beside a real etcd of one member. On Unix sockets: no port is taken from anybody.
func withEtcd(f func() int) int {
	dir, err := os.MkdirTemp("", "etcdlog")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	conf := embed.NewConfig()
	conf.Dir = filepath.Join(dir, "data")
	conf.LogLevel, conf.Logger, conf.LogOutputs = "error", "zap", []string{filepath.Join(dir, "log")}
	peer, client := unixURL(filepath.Join(dir, "peer")), unixURL(filepath.Join(dir, "client"))
	conf.ListenPeerUrls, conf.AdvertisePeerUrls = peer, peer
	conf.ListenClientUrls, conf.AdvertiseClientUrls = client, client
	conf.InitialCluster = conf.InitialClusterFromName(conf.Name)
	etcd, err := embed.StartEtcd(conf)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer etcd.Close()
	<-etcd.Server.ReadyNotify()
	endpoint = filepath.Join(dir, "client")
	return f()
}

func unixURL(path string) []url.URL { return []url.URL{{Scheme: "unix", Path: path}} }

// line is a member's way to etcd, which a test can cut.
type line struct {
	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

var errCut = errors.New("the test has cut this line")

func (l *line) dial(ctx context.Context, _ string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", endpoint)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return nil, errors.Join(errCut, conn.Close())
	}
	if l.conns == nil {
		l.conns = make(map[net.Conn]bool)
	}
	l.conns[conn] = true
	return conn, nil
}

func (l *line) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	if cut {
		for conn := range l.conns {
			conn.Close()
		}
		l.conns = nil
	}
}

// access is the way to the etcd of this process over l.
func access(prefix string, l *line) etcdlog.Access {
	return etcdlog.Access{Endpoints: []string{"http://etcd:1"}, Prefix: prefix, DialOptions: []grpc.DialOption{grpc.WithContextDialer(l.dial)}}
}

// backend is three masters on that etcd.
type backend struct {
	prefix string
	lines  [3]line
}

var prefixes = make(chan string)

func init() {
	go func() {
		for i := 1; ; i++ {
			prefixes <- fmt.Sprintf("/t%d", i)
		}
	}()
}

func newBackend() *backend { return &backend{prefix: <-prefixes} }

func (b *backend) Members() int      { return len(b.lines) }
func (b *backend) Addr(i int) string { return fmt.Sprintf("master%d:7700", i) }
func (b *backend) Cut(i int)         { b.lines[i].set(true) }
func (b *backend) Heal(i int)        { b.lines[i].set(false) }

func (b *backend) config(i int) etcdlog.Config {
	return etcdlog.Config{
		Access:    access(b.prefix, &b.lines[i]),
		ID:        fmt.Sprint("m", i),
		APIAddr:   b.Addr(i),
		Bootstrap: i == 0,
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
func (b *backend) Ready(ctx context.Context) error {
	client := client(b.prefix)
	defer client.Close()
	for {
		resp, err := client.Get(ctx, b.prefix+"/election/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			return err
		}
		if int(resp.Count) == b.Members() {
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
	a := access(prefix, new(line))
	c, err := clientv3.New(clientv3.Config{Endpoints: a.Endpoints, DialOptions: a.DialOptions})
	if err != nil {
		panic(err) // no address is looked up and nothing is dialled here
	}
	return c
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Cluster { return newBackend() }, storetest.Options{})
}
