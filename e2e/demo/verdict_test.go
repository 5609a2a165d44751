package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/vzcluster/vzcluster/e2e/redisprobe"
	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// TestVerdict: the demo says ok only if every promise is kept.
func TestVerdict(t *testing.T) {
	kept := func() *verdict {
		done := cluster.Migration{Phase: cluster.PhaseDone}
		return &verdict{
			client: redisprobe.Summary{Count: 10, First: 1, Last: 10, Gaps: []redisprobe.Gap{{MS: 50}}},
			before: "d", after: "d", moves: []cluster.Migration{done, done},
		}
	}
	for name, breakIt := range map[string]func(*verdict){
		"":                  func(*verdict) {},
		"same connection":   func(v *verdict) { v.clientErr = errors.New("reset") },
		"no increment":      func(v *verdict) { v.client.Lost = 1 },
		"no increment lost": func(v *verdict) { v.client.Repeated = 1 },
		"DEBUG DIGEST":      func(v *verdict) { v.after = "e" },
		"exactly one copy":  func(v *verdict) { v.copies = []string{"two"} },
		"failed":            func(v *verdict) { v.moves[1].Phase = cluster.PhaseFailed },
		"there and back":    func(v *verdict) { v.moves = v.moves[:1] },
	} {
		v := kept()
		breakIt(v)
		var out strings.Builder
		err := v.print(&out)
		if name == "" && err != nil || name != "" && (err == nil || !strings.Contains(err.Error(), name)) {
			t.Errorf("%q broken: error %v\n%s", name, err, out.String())
		}
	}
}
