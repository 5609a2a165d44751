package main

import (
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// An open migration's time runs on while its record stands still; a closed one's does not.
func TestElapsed(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m := cluster.Migration{Created: begin, Changed: begin.Add(time.Second)}
	now := begin.Add(time.Minute)
	if d := elapsed(m, now); d != time.Minute {
		t.Errorf("open: %s", d)
	}
	m.Closed = true
	if d := elapsed(m, now); d != time.Second {
		t.Errorf("closed: %s", d)
	}
	if d := elapsed(cluster.Migration{Created: now.Add(time.Hour)}, now); d != 0 {
		t.Errorf("a clock behind the masters': %s", d)
	}
}
