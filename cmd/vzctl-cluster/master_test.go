package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/rpc"
)

func TestMasterColumns(t *testing.T) {
	for _, c := range []struct {
		m    cluster.MasterInfo
		want string
	}{
		{cluster.MasterInfo{Leader: true, Voter: true}, "leader"},
		{cluster.MasterInfo{Voter: true}, "voter"},
		{cluster.MasterInfo{}, "follower"},
	} {
		if got := masterRole(c.m); got != c.want {
			t.Errorf("%+v: %s, want %s", c.m, got, c.want)
		}
	}
}

func TestAsOf(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	head := metadata.Pairs(rpc.AsOfKey, now.Add(-12*time.Second).Format(time.RFC3339Nano), rpc.RevKey, "7", rpc.ServedByKey, "m2")
	if got := asOf(head, now); !strings.Contains(got, "12s ago (master m2, revision 7)") {
		t.Errorf("got %q", got)
	}
	if got := asOf(metadata.MD{}, now); !strings.Contains(got, "nobody knows") {
		t.Errorf("without a time: %q", got)
	}
}

func TestStaleIsForQuestions(t *testing.T) {
	f := newFake(t)
	runApp(t, t.Context(), []string{f.addr}, "--stale", "node", "cordon", "n1").fails(t, 2, "USAGE", "--stale")
}

// An outcome that a master does not know is exit 7, with the key to ask for it.
func TestUnknownOutcomeOfForward(t *testing.T) {
	f := newFake(t).says("CordonNode", nil, status.Error(codes.Unknown, "the leader was lost during the call"))
	r := runApp(t, t.Context(), []string{f.addr}, "-j", "--timeout", "1s", "node", "cordon", "n1", "--op-key", "key-1")
	var doc errorDoc
	if err := json.Unmarshal([]byte(r.out), &doc); err != nil || r.code != 7 || doc.Op != "key-1" {
		t.Errorf("exit %d, %s (%v); want 7 and the key", r.code, r.out, err)
	}
}
