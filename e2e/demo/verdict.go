package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/vzcluster/vzcluster/e2e/redisprobe"
	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate"
)

// verdict collects what the demo promises and what really came of it.
type verdict struct {
	client        redisprobe.Summary
	clientErr     error
	before, after string   // DEBUG DIGEST
	copies        []string // what was wrong with the number of copies
	moves         []cluster.Migration
}

// print writes a line for each promise and returns an error that names the broken ones.
func (v *verdict) print(out io.Writer) error {
	var broken []string
	line := func(ok bool, what, detail string) {
		mark := "ok    "
		if !ok {
			mark = "BROKEN"
			broken = append(broken, what)
		}
		fmt.Fprintf(out, "  %s  %-44s %s\n", mark, what, detail)
	}
	fmt.Fprintln(out, "\nWhat came of it:")
	clientDetail := fmt.Sprintf("%d increments, numbers %d to %d", v.client.Count, v.client.First, v.client.Last)
	if v.clientErr != nil {
		clientDetail = v.clientErr.Error()
	}
	line(v.clientErr == nil && v.client.Reconnects == 0, "the same connection is alive", clientDetail)
	line(v.clientErr == nil && v.client.Count > 0 && v.client.Lost == 0 && v.client.Repeated == 0, "no increment lost or repeated",
		fmt.Sprintf("%d lost, %d repeated", v.client.Lost, v.client.Repeated))
	line(len(v.client.Gaps) > 0, "longest gaps that the client saw", gaps(v.client))
	line(v.before != "" && v.before == v.after, "DEBUG DIGEST equal before and after", short(v.before)+" / "+short(v.after))
	line(len(v.copies) == 0, "exactly one copy in the cluster", strings.Join(v.copies, "; "))
	for _, m := range v.moves {
		line(m.Phase == cluster.PhaseDone, fmt.Sprintf("%s -> %s: %s", m.Source, m.Target, m.Phase),
			fmt.Sprintf("frozen %s (%s)", m.Stats.Frozen.Round(100*time.Microsecond), stages(m)))
	}
	line(len(v.moves) == 2, "there and back", "")
	if len(broken) > 0 {
		return errors.New("broken promises: " + strings.Join(broken, "; "))
	}
	return nil
}

func gaps(s redisprobe.Summary) string {
	var out []string
	for _, g := range s.Gaps[:min(2, len(s.Gaps))] {
		out = append(out, fmt.Sprintf("%.0f ms", g.MS))
	}
	return strings.Join(out, " and ")
}

func short(digest string) string { return digest[:min(len(digest), 12)] }

// stages lists what the frozen time was spent on, in the order of its beginning.
func stages(m cluster.Migration) string {
	all := append(slices.Clone(m.From.Stages), m.To.Stages...)
	slices.SortStableFunc(all, func(a, b cluster.StageTime) int { return a.Start.Compare(b.Start) })
	var out []string
	for _, s := range all {
		switch s.Stage {
		case migrate.StagePrepare, migrate.StageCopy, migrate.StageArm, migrate.StageDestroy: // it runs meanwhile
		default:
			out = append(out, fmt.Sprintf("%s %s", s.Stage, s.Duration.Round(100*time.Microsecond)))
		}
	}
	return strings.Join(out, ", ")
}
