package main

import (
	"fmt"
	"path/filepath"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/store/etcdlog"
	"github.com/vzcluster/vzcluster/pkg/store/move"
)

func TestStoreMigrateUsage(t *testing.T) {
	etcd := []string{"--etcd-endpoints", "http://127.0.0.1:1"}
	for _, c := range []struct {
		args []string
		word string
	}{
		{nil, "--etcd-endpoints"},
		{etcd, "one of them must be etcd"},
		{append([]string{"--from", "etcd", "--to", "etcd"}, etcd...), "one of them must be etcd"},
		{append([]string{"--from", "raft:/a", "--to", "raft:/b"}, etcd...), "one of them must be etcd"},
		{append([]string{"--from", "raft:/a,,/b", "--to", "etcd"}, etcd...), "one of them must be etcd"},
		{append([]string{"--from", "etcd", "--to", "raft:/a,/b", "--id", "m1"}, etcd...), "one of them must be etcd"},
		{append([]string{"--from", "etcd", "--to", "raft:/a"}, etcd...), "--id"},
		{append([]string{"--from", "etcd", "--to", "raft:/a", "--id", "m1"}, etcd...), "--raft-advertise"},
		{append([]string{"x"}, etcd...), "unexpected"},
	} {
		f := newFake(t)
		f.run(t, append([]string{"store", "migrate"}, c.args...)...).fails(t, 2, "USAGE", c.word)
	}
}

// What is no data directory is said before etcd is asked for anything.
func TestStoreMigrateNoDirectory(t *testing.T) {
	f := newFake(t)
	dir := filepath.Join(t.TempDir(), "none")
	f.run(t, "store", "migrate", "--from", "raft:"+dir, "--to", "etcd", "--etcd-endpoints", "http://127.0.0.1:1").fails(t, 4, "CONFLICT", "not one of a master")
}

func TestMoveError(t *testing.T) {
	for err, want := range map[error]cli.Code{
		&move.RefusedError{Why: "x"}:                cli.Conflict,
		fmt.Errorf("wrapped: %w", etcdlog.ErrInUse): cli.Conflict,
		etcdlog.ErrHeld:                             cli.Conflict,
		etcdlog.ErrEmpty:                            cli.Conflict,
		etcdlog.ErrNotEmpty:                         cli.Conflict,
		fmt.Errorf("etcd: read: %w", status.Error(codes.Unavailable, "no")): cli.Unreachable,
		fmt.Errorf("disk"): cli.Internal,
	} {
		if got := cli.AsError(moveError(err)).Code; got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}
