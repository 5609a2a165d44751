package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Result is what one size of data gave.
type Result struct {
	MiB     int               `json:"mib"`
	Load    string            `json:"load"` // of the machine when it was done
	Ours    Summary           `json:"ours"`
	Classic Summary           `json:"classic"`
	Moves   map[string][]Move `json:"moves"` // by way, as measured
	// Trouble says, by way, what went wrong: a connection, an increment, data or the container was lost.
	Trouble map[string][]string `json:"trouble,omitempty"`
}

// Report is the whole document of --json.
type Report struct {
	Started  time.Time         `json:"started"`
	Machine  string            `json:"machine"`
	Versions map[string]string `json:"versions"`
	Rate     string            `json:"rate,omitempty"` // cap of the hosts' links
	Results  []Result          `json:"results"`
}

// maxRatio is what the product promises with little memory: a gap of under a third of the classic way's.
const maxRatio = 1.0 / 3

// notes say what must be known to read the table.
var notes = []string{
	"gap: the longest time between two answers to one client that increments a counter every millisecond on one connection.",
	"frozen: ours from freeze to release, by the hosts' clock; classic from the start of runc checkpoint to the end of runc restore.",
	"total: from the command's start to its end. wire: what left the source host's link while the command ran.",
	"For the classic way's good, there are: images on tmpfs, no ssh (so no encryption), all preparations and a first rsync before the checkpoint,",
	"no user namespace (ours has one), and redis as root: CRIU cannot dump another user's process where CAP_SYS_RESOURCE is missing, without",
	"a user namespace. Nothing of it is agreed on by anybody (no quorum, no votes) nor checked by digest; ours is.",
	"Both share this machine's processors and memory with the rest of the lab: compare within a table, not between machines.",
}

// write prints one size's table.
func (r Result) write(w io.Writer) error {
	fmt.Fprintf(w, "\nRedis with %d MiB (load afterwards %s)\n", r.MiB, r.Load)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "\tvzcluster\tclassic\tratio\t\n")
	row := func(name string, ours, classic time.Duration) {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t\n", name, figure(ours), figure(classic), ratio(float64(ours), float64(classic)))
	}
	row("gap, median", r.Ours.GapMedian, r.Classic.GapMedian)
	row("gap, worst", r.Ours.GapWorst, r.Classic.GapWorst)
	row("frozen, median", r.Ours.Frozen, r.Classic.Frozen)
	row("frozen, worst", r.Ours.FrozenWorst, r.Classic.FrozenWorst)
	row("total, median", r.Ours.Total, r.Classic.Total)
	fmt.Fprintf(t, "wire, median\t%s\t%s\t%s\t\n", mib(r.Ours.Wire), mib(r.Classic.Wire), ratio(float64(r.Ours.Wire), float64(r.Classic.Wire)))
	fmt.Fprintf(t, "failed\t%d of %d\t%d of %d\t\t\n", r.Ours.Failed, r.Ours.Moves, r.Classic.Failed, r.Classic.Moves)
	if err := t.Flush(); err != nil {
		return err
	}
	if err := writeStages(w, "vzcluster", r.Ours); err != nil {
		return err
	}
	if err := writeStages(w, "classic", r.Classic); err != nil {
		return err
	}
	for _, way := range wayNames {
		for _, text := range r.Trouble[way] {
			fmt.Fprintf(w, "%s: %s\n", way, text)
		}
	}
	return nil
}

// writeStages prints where the milliseconds go. Stages of different hosts overlap: they do not add up.
func writeStages(w io.Writer, way string, s Summary) error {
	if len(s.Stages) == 0 {
		return nil
	}
	fmt.Fprintf(w, "where the time goes: %s (medians; stages overlap where both hosts work; the freeze begins at 0)\n", way)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, g := range s.Stages {
		// Only the names are aligned left.
		fmt.Fprintf(t, "    at\t%s\ttook\t%s\t  %s\n", millis(g.At), millis(g.Took), g.Name)
	}
	fmt.Fprintf(t, "\t\ttook\t%s\t  no stage, while frozen\n", millis(s.Unstaged))
	return t.Flush()
}

// writeOverview prints all sizes in one table.
func writeOverview(w io.Writer, results []Result) error {
	fmt.Fprintf(w, "\ngap, median (worst)\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "data\tvzcluster\tclassic\tratio\t\n")
	for _, r := range results {
		fmt.Fprintf(t, "%d MiB\t%s (%s)\t%s (%s)\t%s\t\n", r.MiB, figure(r.Ours.GapMedian), figure(r.Ours.GapWorst),
			figure(r.Classic.GapMedian), figure(r.Classic.GapWorst), ratio(float64(r.Ours.GapMedian), float64(r.Classic.GapMedian)))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range results {
		if r.MiB == 0 {
			fmt.Fprintln(w, verdict(r))
		}
	}
	fmt.Fprintf(w, "\n%s\n", strings.Join(notes, "\n"))
	return nil
}

// verdict compares a Redis with little in it with the promise.
func verdict(r Result) string {
	if r.Ours.GapMedian == 0 || r.Classic.GapMedian == 0 {
		return fmt.Sprintf("with %d MiB there is nothing to compare", r.MiB)
	}
	got := float64(r.Ours.GapMedian) / float64(r.Classic.GapMedian)
	word := "kept"
	if got >= maxRatio {
		word = "NOT kept"
	}
	return fmt.Sprintf("with %d MiB the gap is %.2f of the classic way's; promised is under a third: %s", r.MiB, got, word)
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// figure is millis of something that takes time; "-" if it was never measured.
func figure(d time.Duration) string {
	if d <= 0 {
		return "-"
	}
	return millis(d)
}

func mib(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// ratio is ours by classic; "-" when one of them has no figure.
func ratio(ours, classic float64) string {
	if ours <= 0 || classic <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", ours/classic)
}
