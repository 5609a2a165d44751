package harness

import (
	"context"

	"github.com/vzcluster/vzcluster/e2e/lab"
)

// Bare builds a lab whose hosts run nothing: no cluster, so only Lab, Redis clients and Close are of use.
func Bare(ctx context.Context, cfg lab.Config) (*Cluster, error) {
	bin, err := BinDir()
	if err != nil {
		return nil, err
	}
	if cfg.BinDir == "" {
		cfg.BinDir = bin
	}
	cfg.Daemons = func(lab.Host) []lab.Daemon { return nil }
	l, err := lab.Up(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &Cluster{Lab: l, bin: bin}, nil
}

// RedisAt is a Redis on the LAN that the cluster did not make.
func (c *Cluster) RedisAt(ip string) Redis { return Redis{c: c, Addr: ip + ":6379"} }
