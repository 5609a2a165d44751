package main

import (
	"reflect"
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

func TestParseClassic(t *testing.T) {
	m, err := parseClassic(`bytes rootfs 71232963
stage copy-running 1795438488.500000 1795438489.250000
stage checkpoint 1795438489.250000 1795438489.375000
bytes images 3120098
bytes rootfs-again 63329
stage transfer 1795438489.375000 1795438489.500000
stage restore 1795438489.500000 1795438489.625000
stage frozen 1795438489.250000 1795438489.625000
criu dump 00.100000
criu restore 00.050000
moved c
`)
	if err != nil {
		t.Fatal(err)
	}
	want := Move{
		Frozen: 375 * ms,
		Bytes:  map[string]uint64{"rootfs": 71232963, "images": 3120098, "rootfs-again": 63329},
		Stages: []Stage{
			{"copy-running", -750 * ms, 750 * ms},
			{"checkpoint", 0, 125 * ms}, {"checkpoint: criu's own", 0, 100 * ms},
			{"transfer", 125 * ms, 125 * ms},
			{"restore", 250 * ms, 125 * ms}, {"restore: criu's own", 250 * ms, 50 * ms},
		},
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("got %+v\nwant %+v", m, want)
	}
}

func TestParseClassicRefuses(t *testing.T) {
	for name, out := range map[string]string{
		"nothing":          "",
		"a broken number":  "stage frozen 1 2\nbytes images many\nmoved c\n",
		"a broken time":    "stage frozen 1 x\nmoved c\n",
		"not moved":        "stage frozen 1 2\n",
		"no time was lost": "moved c\n",
	} {
		if m, err := parseClassic(out); err == nil {
			t.Errorf("%s: taken as %+v", name, m)
		}
	}
}

func TestMoveOf(t *testing.T) {
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m := moveOf(cluster.Migration{
		Stats: cluster.MigrationStats{RootfsBytes: 10, FinalBytes: 2, ImageBytes: 5, Frozen: 60 * ms},
		From: cluster.Side[cluster.SourceStep]{Stages: []cluster.StageTime{
			{Stage: "copy", Start: t0, Duration: time.Second}, {Stage: "freeze", Start: t0.Add(time.Second), Duration: ms}}},
		To: cluster.Side[cluster.TargetStep]{Stages: []cluster.StageTime{{Stage: "restore", Start: t0.Add(time.Second + 30*ms), Duration: 20 * ms}}},
	})
	want := Move{
		Frozen: 60 * ms,
		Bytes:  map[string]uint64{"rootfs": 10, "rootfs-again": 2, "images": 5},
		Stages: []Stage{{"source: copy", -time.Second, time.Second}, {"source: freeze", 0, ms}, {"target: restore", 30 * ms, 20 * ms}},
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("got %+v\nwant %+v", m, want)
	}
}
