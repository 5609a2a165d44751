package etcdlog

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

const (
	// DefaultPrefix is where the cluster's keys are when Config does not say.
	DefaultPrefix = "/vzcluster"
	// DefaultTTL is how long a leader may be silent before another master may lead, when Config does not say.
	DefaultTTL = 3 * time.Second
	// maxPrefix keeps a transaction that [store.Txn.Check] is content with within etcd's limit on its size.
	maxPrefix = 32
)

// Access is how to reach an etcd.
type Access struct {
	Endpoints []string // URLs, http or https; host:port means http without certificates and https with
	Prefix    string   // of all keys; empty: DefaultPrefix. One cluster has one prefix
	// Files in PEM: a certificate and its key with which etcd knows this client, and who signs etcd's certificates. All are read again
	// when connections are made. Empty: none, and the system's.
	CertFile, KeyFile, CAFile string

	DialOptions []grpc.DialOption // for tests
}

// Config says who a member is. ID, APIAddr and Access.Endpoints are required.
type Config struct {
	Access
	ID      string // of the master: stable over restarts
	APIAddr string // what Leader tells while this member leads

	// Bootstrap lets this member lead while there is no cluster below the prefix yet, and so make one. Without it a mistyped prefix or
	// an etcd that lost its data would found an empty second cluster without a word. It changes nothing afterwards.
	Bootstrap bool

	TTL    time.Duration // of the leadership's lease, in whole seconds from 2 (etcd takes no less); 0: DefaultTTL
	Logger *slog.Logger  // nil: slog.Default()
}

func (c *Config) check() error {
	switch {
	case c.ID == "":
		return errors.New("etcd: an id is required")
	case c.APIAddr == "":
		return errors.New("etcd: the address of the API is required")
	}
	if c.TTL == 0 {
		c.TTL = DefaultTTL
	}
	if c.TTL < 2*time.Second || c.TTL > 10*time.Minute || c.TTL%time.Second != 0 {
		return fmt.Errorf("etcd: lease of %v: 2 s to 10 min in whole seconds", c.TTL)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return nil
}

// complete checks a and fills in what was left out.
func (a *Access) complete() error {
	if a.Prefix == "" {
		a.Prefix = DefaultPrefix
	}
	a.Prefix = strings.TrimSuffix(a.Prefix, "/")
	if a.Prefix == "" || len(a.Prefix) > maxPrefix || strings.ContainsFunc(a.Prefix, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("etcd: prefix %q: 1 to %d printable ASCII characters other than a lone /", a.Prefix, maxPrefix)
	}
	if (a.CertFile == "") != (a.KeyFile == "") {
		return errors.New("etcd: a certificate and its key come together")
	}
	if len(a.Endpoints) == 0 {
		return errors.New("etcd: at least one endpoint is required, as https://HOST:2379")
	}
	secure := a.CertFile != "" || a.CAFile != ""
	endpoints := make([]string, len(a.Endpoints))
	for i, e := range a.Endpoints {
		if !strings.Contains(e, "://") {
			e = map[bool]string{false: "http://", true: "https://"}[secure] + e
		}
		u, err := url.Parse(e)
		if err != nil || u.Host == "" || u.Port() == "" || strings.Trim(u.Path, "/") != "" {
			return fmt.Errorf("etcd: endpoint %q: give it as https://HOST:PORT", e)
		}
		if u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("etcd: endpoint %q: http or https", e)
		}
		if secure && u.Scheme == "http" {
			return fmt.Errorf("etcd: endpoint %q is not encrypted, but a certificate or CA is given: use https", e)
		}
		endpoints[i] = e
	}
	a.Endpoints = endpoints
	return nil
}

// tls returns how to speak to https endpoints; nil: all are http.
func (a *Access) tls() (*tls.Config, error) {
	plain := true
	for _, e := range a.Endpoints {
		plain = plain && strings.HasPrefix(e, "http://")
	}
	if plain {
		return nil, nil
	}
	info := transport.TLSInfo{CertFile: a.CertFile, KeyFile: a.KeyFile, TrustedCAFile: a.CAFile}
	conf, err := info.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("etcd: certificates: %w", err)
	}
	conf.MinVersion = tls.VersionTLS12
	return conf, nil
}

// open makes a client, which connects by itself. It must be closed.
func (a *Access) open() (*clientv3.Client, error) {
	if err := a.complete(); err != nil {
		return nil, err
	}
	conf, err := a.tls()
	if err != nil {
		return nil, err
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   a.Endpoints,
		TLS:         conf,
		DialOptions: a.DialOptions,
		// An endpoint that no longer answers is left after the sum of both; gRPC allows no shorter period.
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		DialTimeout:          5 * time.Second,
		Logger:               zap.NewNop(), // each error comes back to us
	})
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	return client, nil
}
