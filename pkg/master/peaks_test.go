package master

import (
	"testing"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

func TestPeaks(t *testing.T) {
	var p peaks
	see := func(starts, applied uint64) {
		p.note([]cluster.MasterInfo{{State: &cluster.MasterState{Presence: cluster.Presence{Instance: "i", Starts: starts}, Applied: applied}}, {}})
	}
	want := func(start, want uint64) {
		t.Helper()
		if got := p.of("i", start); got != want {
			t.Errorf("before start %d it had come to %d, want %d", start, got, want)
		}
	}
	want(1, 0)
	see(1, 100)
	want(1, 0) // it shows where its log ended when it started, and has gone on since
	want(2, 100)
	see(2, 150)
	see(2, 320)
	want(2, 100)
	want(3, 320)
	see(1, 500) // late news of an earlier start
	want(3, 320)
}
