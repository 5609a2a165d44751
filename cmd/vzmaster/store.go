package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/master"
	"github.com/vzcluster/vzcluster/pkg/store/etcdlog"
	"github.com/vzcluster/vzcluster/pkg/store/raftlog"
)

// The back ends.
const (
	storeRaft = "raft"
	storeEtcd = "etcd"
)

// backend are the flags that choose and reach the back end.
type backend struct {
	kind string
	etcd etcdlog.Access
	ttl  time.Duration
}

func (b *backend) flags(f *pflag.FlagSet) {
	f.StringVar(&b.kind, "store", storeRaft, "where the cluster's state is: raft (the masters keep it themselves) or etcd")
	f.StringSliceVar(&b.etcd.Endpoints, "etcd-endpoints", nil, "with --store etcd: https://HOST:PORT,... of its members")
	f.StringVar(&b.etcd.CertFile, "etcd-cert", "", "certificate by which etcd knows this master, PEM")
	f.StringVar(&b.etcd.KeyFile, "etcd-key", "", "its key, PEM")
	f.StringVar(&b.etcd.CAFile, "etcd-ca", "", "who signs etcd's certificates, PEM (default: the system's)")
	f.StringVar(&b.etcd.Prefix, "etcd-prefix", etcdlog.DefaultPrefix, "of this cluster's keys in etcd; the same on all its masters")
	f.DurationVar(&b.ttl, "etcd-lease", etcdlog.DefaultTTL, "how long a leader may be silent before another master leads; whole seconds, from 2s")
}

// rafts tells whether the masters keep the state themselves.
func (b *backend) rafts() bool { return b.kind == storeRaft }

// check finds flags that contradict each other.
func (b *backend) check() error {
	switch b.kind {
	case storeRaft:
		if len(b.etcd.Endpoints) > 0 {
			return errors.New("--etcd-endpoints is for --store etcd: give both or none")
		}
	case storeEtcd:
		if len(b.etcd.Endpoints) == 0 {
			return errors.New("--store etcd needs --etcd-endpoints, as https://HOST:PORT,https://HOST:PORT")
		}
	default:
		return fmt.Errorf("--store %q: use raft or etcd", b.kind)
	}
	return nil
}

// openLog returns the log, and who changes its members: nobody with etcd.
func (o *options) openLog(admit func(context.Context, cluster.Presence, []string) (bool, error)) (master.Log, master.Members, error) {
	if o.store.rafts() {
		log, err := raftlog.New(raftlog.Config{ID: o.id, DataDir: o.dataDir, RaftAddr: o.raftAdvertise, BindAddr: o.raftListen,
			APIAddr: o.advertise, DiskLimit: o.diskLimit, Abandon: abandon, Bootstrap: o.bootstrap, Admit: admit})
		return log, log, err
	}
	log, err := etcdlog.New(etcdlog.Config{Access: o.store.etcd, ID: o.id, APIAddr: o.advertise, Bootstrap: o.bootstrap, TTL: o.store.ttl})
	return log, nil, err
}
