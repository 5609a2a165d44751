// Package etcdtest gives tests a real etcd of one member, in the test's own process and on Unix sockets: no port is taken from anybody.
package etcdtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/store/etcdlog"
)

// socket is where the etcd of this process listens.
var socket string

// Main runs f, the tests of a package, beside an etcd.
func Main(f func() int) int {
	dir, err := os.MkdirTemp("", "etcdtest")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	conf := embed.NewConfig()
	conf.Dir = filepath.Join(dir, "data")
	conf.LogLevel, conf.Logger, conf.LogOutputs = "error", "zap", []string{filepath.Join(dir, "log")}
	peer, client := []url.URL{{Scheme: "unix", Path: filepath.Join(dir, "peer")}}, []url.URL{{Scheme: "unix", Path: filepath.Join(dir, "client")}}
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
	socket = filepath.Join(dir, "client")
	return f()
}

var prefixes struct {
	mu   sync.Mutex
	last int
}

// Prefix returns one that no other test has.
func Prefix() string {
	prefixes.mu.Lock()
	defer prefixes.mu.Unlock()
	prefixes.last++
	return fmt.Sprintf("/t%d", prefixes.last)
}

// Line is a way to the etcd, which a test can cut.
type Line struct {
	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

var errCut = errors.New("the test has cut this line")

// Access is the way to the etcd of this process over l.
func (l *Line) Access(prefix string) etcdlog.Access {
	return etcdlog.Access{Endpoints: []string{"http://etcd:1"}, Prefix: prefix, DialOptions: []grpc.DialOption{grpc.WithContextDialer(l.dial)}}
}

func (l *Line) dial(ctx context.Context, _ string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
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

// Cut ends all connections of l and lets no new one be made, until it is called with false.
func (l *Line) Cut(cut bool) {
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
