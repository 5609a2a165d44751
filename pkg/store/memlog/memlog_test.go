package memlog_test

import (
	"context"
	"testing"

	"github.com/vzcluster/vzcluster/pkg/store/memlog"
	"github.com/vzcluster/vzcluster/pkg/store/storetest"
)

type backend struct{ *memlog.Cluster }

func (b backend) Open(_ *testing.T, i int) storetest.Member { return b.Member(i) }
func (b backend) Addr(i int) string                         { return b.Member(i).Addr() }

func (b backend) Ready(context.Context) error { return nil }

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Cluster { return backend{memlog.New(3)} }, storetest.Options{Virtual: true})
}
