package etcdlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/store"
)

func TestConfig(t *testing.T) {
	good := func() Config {
		return Config{Access: Access{Endpoints: []string{"https://e1:2379", "e2:2379"}, CAFile: "ca"}, ID: "m1", APIAddr: "m1:7700"}
	}
	for name, c := range map[string]struct {
		change func(*Config)
		want   string // part of the error
	}{
		"no id":           {func(c *Config) { c.ID = "" }, "id"},
		"no API":          {func(c *Config) { c.APIAddr = "" }, "API"},
		"no endpoint":     {func(c *Config) { c.Endpoints = nil }, "endpoint"},
		"no port":         {func(c *Config) { c.Endpoints = []string{"https://e1"} }, "HOST:PORT"},
		"a path":          {func(c *Config) { c.Endpoints = []string{"https://e1:1/x"} }, "HOST:PORT"},
		"another scheme":  {func(c *Config) { c.Endpoints = []string{"ftp://e1:1"} }, "http or https"},
		"plain with CA":   {func(c *Config) { c.Endpoints = []string{"http://e1:1"} }, "not encrypted"},
		"no key":          {func(c *Config) { c.CertFile = "cert" }, "together"},
		"no certificate":  {func(c *Config) { c.KeyFile = "key" }, "together"},
		"long prefix":     {func(c *Config) { c.Prefix = "/" + strings.Repeat("x", maxPrefix) }, "prefix"},
		"lone slash":      {func(c *Config) { c.Prefix = "/" }, "prefix"},
		"space in prefix": {func(c *Config) { c.Prefix = "/a b" }, "prefix"},
		"short lease":     {func(c *Config) { c.TTL = time.Second }, "lease"},
		"odd lease":       {func(c *Config) { c.TTL = 2500 * time.Millisecond }, "lease"},
		"no CA file":      {func(c *Config) {}, "certificates"},
	} {
		conf := good()
		c.change(&conf)
		if _, err := New(conf); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want something about %q", name, err, c.want)
		}
	}
	a := good().Access
	if err := a.complete(); err != nil || a.Prefix != DefaultPrefix || a.Endpoints[1] != "https://e2:2379" {
		t.Errorf("%+v, %v", a, err)
	}
	plain := Access{Endpoints: []string{"e1:1"}, Prefix: "/p/"}
	if err := plain.complete(); err != nil || plain.Prefix != "/p" || plain.Endpoints[0] != "http://e1:1" {
		t.Errorf("%+v, %v", plain, err)
	}
}

// Only what certainly was not written may be called that.
func TestFate(t *testing.T) {
	for err, unknown := range map[error]bool{
		rpctypes.ErrNoSpace:                          false,
		rpctypes.ErrPermissionDenied:                 false,
		rpctypes.ErrRequestTooLarge:                  false,
		rpctypes.ErrTimeout:                          true,
		rpctypes.ErrTimeoutDueToLeaderFail:           true,
		rpctypes.ErrNoLeader:                         true,
		rpctypes.ErrStopped:                          true,
		context.DeadlineExceeded:                     true,
		context.Canceled:                             true,
		status.Error(codes.Unavailable, "transport"): true,
	} {
		if got := errors.Is(fate(err), store.ErrUnknown); got != unknown {
			t.Errorf("%v: unknown %v, want %v", err, got, unknown)
		}
	}
	if !errors.Is(fate(rpctypes.ErrTooManyOps), store.ErrTooLarge) {
		t.Error("too many operations is not too large")
	}
}

// An etcd that went back, or that is another one, is noticed.
func TestHistory(t *testing.T) {
	at := func(cluster uint64, rev int64) *etcdserverpb.ResponseHeader {
		return &etcdserverpb.ResponseHeader{ClusterId: cluster, Revision: rev}
	}
	l := &Log{}
	f := tail{log: l, seen: 10}
	for _, c := range []struct {
		header *etcdserverpb.ResponseHeader
		ok     bool
	}{{at(7, 10), true}, {at(7, 11), true}, {at(7, 9), false}, {at(8, 12), false}, {at(7, 12), true}} {
		err := f.check(c.header)
		var history *historyError
		if (err == nil) != c.ok || !c.ok && !errors.As(err, &history) {
			t.Errorf("%v: %v", c.header, err)
		}
	}
}

// Events of several revisions in one answer become one batch each, in order, without what is not below the prefix.
func TestDeliver(t *testing.T) {
	event := func(kind int32, key, value string, rev int64) *clientv3.Event {
		e := &clientv3.Event{Type: clientv3.EventTypePut}
		if kind == 1 {
			e.Type = clientv3.EventTypeDelete
		}
		e.Kv = newKV(key, value, rev)
		return e
	}
	var got []string
	f := tail{log: &Log{}, prefix: "/p/data/", apply: func(b store.Batch) {
		got = append(got, fmt.Sprintf("%d:%d a=%s -%v", b.Rev, len(b.Put), b.Put["a"].Value, b.Del))
	}}
	f.deliver([]*clientv3.Event{event(0, "/p/data", "m1", 5), event(0, "/p/data/a", "1", 5), event(1, "/p/data/b", "", 5), event(0, "/p/data", "m1", 7), event(0, "/p/data/a", "2", 9)})
	if want := "[5:1 a=1 -[b] 7:0 a= -[] 9:1 a=2 -[]]"; fmt.Sprint(got) != want || f.seen != 9 {
		t.Errorf("got %v at %d, want %s", got, f.seen, want)
	}
}

func TestSaysOnce(t *testing.T) {
	var s said
	now := time.Now()
	for i, want := range []bool{true, false, false} {
		if got := s.news("x", "text", now.Add(time.Duration(i)*time.Second)); got != want {
			t.Errorf("time %d: %v", i, got)
		}
	}
	if !s.news("x", "other", now) || !s.news("y", "other", now) || !s.news("x", "other", now.Add(sayAgainAfter)) {
		t.Error("something new is not said")
	}
}

func newKV(key, value string, rev int64) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), ModRevision: rev}
}
