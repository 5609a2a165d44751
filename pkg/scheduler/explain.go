package scheduler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// Explanation tells how a decision came about.
type Explanation struct {
	Chosen  string         // empty: nobody
	Score   float64        // of the chosen node
	Nodes   int            // looked at
	Refused map[string]int // reason -> how many nodes
	// Best is the refused node that lacks least, of those that lack nothing but room; Short is what it lacks.
	Best  string
	Short cluster.Resources

	bestGap float64
}

// add counts one verdict.
func (e *Explanation) add(v verdict) {
	e.Nodes++
	if v.fits() {
		return
	}
	if e.Refused == nil {
		e.Refused = map[string]int{}
	}
	e.Refused[v.why]++
	if v.short == (cluster.Resources{}) {
		return
	}
	gap := func(short, limit uint64) float64 { return float64(short) / float64(max(limit, 1)) }
	g := max(gap(v.short.CPUMilli, v.limit.CPUMilli), gap(v.short.MemoryBytes, v.limit.MemoryBytes), gap(v.short.DiskBytes, v.limit.DiskBytes))
	if e.Best == "" || g < e.bestGap {
		e.Best, e.Short, e.bestGap = v.node, v.short, g
	}
}

// String says it in one line: "2 nodes: memory, 1 node: cordoned; best rejected: n3, 40 MiB memory short".
func (e Explanation) String() string {
	if e.Nodes == 0 {
		return "the cluster has no nodes"
	}
	reasons := make([]string, 0, len(e.Refused))
	for r := range e.Refused {
		reasons = append(reasons, r)
	}
	slices.SortFunc(reasons, func(a, b string) int {
		if d := e.Refused[b] - e.Refused[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for i, r := range reasons {
		noun := "nodes"
		if e.Refused[r] == 1 {
			noun = "node"
		}
		reasons[i] = fmt.Sprintf("%d %s: %s", e.Refused[r], noun, r)
	}
	text := strings.Join(reasons, ", ")
	if e.Chosen != "" {
		text = strings.TrimSuffix(fmt.Sprintf("%s of %d nodes has the most room left; %s", e.Chosen, e.Nodes, text), "; ")
	}
	if e.Best != "" && e.Chosen == "" {
		text += fmt.Sprintf("; best rejected: %s, %s short", e.Best, shortText(e.Short))
	}
	return text
}

// RefusedError: no node, or not the one asked for, can take the request.
type RefusedError struct {
	Node        string // the one asked for; empty: any
	Explanation Explanation
}

func (e *RefusedError) Error() string {
	ex := e.Explanation
	switch {
	case e.Node == "":
		return "no node can take it: " + ex.String()
	case ex.Nodes == 0:
		return fmt.Sprintf("node %s: unknown", e.Node)
	case ex.Best != "":
		return fmt.Sprintf("node %s: not enough room: %s short", e.Node, shortText(ex.Short))
	}
	for why := range ex.Refused {
		return fmt.Sprintf("node %s: %s", e.Node, why)
	}
	return fmt.Sprintf("node %s: refused", e.Node)
}

type lack struct{ what, amount string }

// lacks lists the resources that are short, least important first.
func lacks(r cluster.Resources) []lack {
	var l []lack
	if r.CPUMilli > 0 {
		l = append(l, lack{"cpu", fmt.Sprintf("%.4g CPUs", float64(r.CPUMilli)/1000)})
	}
	if r.DiskBytes > 0 {
		l = append(l, lack{"disk", sizeText(r.DiskBytes)})
	}
	if r.MemoryBytes > 0 {
		l = append(l, lack{"memory", sizeText(r.MemoryBytes)})
	}
	return l
}

func shortText(r cluster.Resources) string {
	var parts []string
	for _, l := range lacks(r) {
		parts = append(parts, l.amount+" "+l.what)
	}
	return strings.ReplaceAll(strings.Join(parts, ", "), "CPUs cpu", "CPUs")
}

// sizeText rounds up: "0 MiB short" would be no help.
func sizeText(b uint64) string {
	const mib, gib = 1 << 20, 1 << 30
	if b >= 10*gib {
		return fmt.Sprintf("%.1f GiB", float64(b)/gib)
	}
	return fmt.Sprintf("%d MiB", b/mib+min(b%mib, 1))
}
