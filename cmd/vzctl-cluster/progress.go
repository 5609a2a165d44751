package main

import (
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// progress shows a migration on stderr as it goes on.
type progress interface {
	update(migrationDoc)
	close()
}

// newProgress returns a bar for a terminal, else lines.
func (a *app) newProgress() progress {
	if isTerminal(a.err) {
		return newBar(a.err)
	}
	return &lines{w: a.err}
}

// headline names a migration and where it stands.
func headline(d migrationDoc) string {
	s := fmt.Sprintf("migration %s: %s from %s to %s: %s", d.ID, d.CTID, d.Source, d.Target, d.Phase)
	if d.Reason != "" {
		s += " (" + d.Reason + ")"
	}
	return cli.Line(s)
}

// lines writes one line for each phase.
type lines struct {
	w    io.Writer
	last cluster.Phase
}

func (l *lines) update(d migrationDoc) {
	if d.Phase != l.last {
		l.last = d.Phase
		fmt.Fprintln(l.w, headline(d))
	}
}

func (l *lines) close() {}

// bar draws a bar with counts, rate and remaining time.
type bar struct {
	container *mpb.Progress
	bar       *mpb.Bar

	mu  sync.Mutex
	now migrationDoc
}

func newBar(w io.Writer) *bar {
	b := &bar{container: mpb.New(mpb.WithOutput(w), mpb.WithWidth(30), mpb.WithRefreshRate(150*time.Millisecond))}
	b.bar = b.container.AddBar(0,
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return b.left() })),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return b.right() })),
	)
	return b
}

func (b *bar) update(d migrationDoc) {
	b.mu.Lock()
	b.now = d
	b.mu.Unlock()
	if p := d.Progress; p != nil {
		b.bar.SetTotal(int64(min(p.TotalBytes, math.MaxInt64)), false)
		b.bar.SetCurrent(int64(min(p.DoneBytes, math.MaxInt64)))
	}
}

// close leaves the last state of the bar on the screen.
func (b *bar) close() {
	if b.now.Phase == cluster.PhaseDone {
		b.bar.SetTotal(max(b.bar.Current(), 1), true)
	} else {
		b.bar.Abort(false)
	}
	b.container.Wait()
}

func (b *bar) left() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.now
	if d.ID == "" {
		return "waiting for the record "
	}
	return cli.Line(fmt.Sprintf("%s %s>%s %s", d.CTID, d.Source, d.Target, d.Phase)) + " "
}

func (b *bar) right() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.now.Progress
	if p == nil {
		return ""
	}
	s := " " + cli.HumanSize(p.DoneBytes)
	if p.TotalBytes > 0 {
		s += "/" + cli.HumanSize(p.TotalBytes)
	}
	if p.TotalFiles > 0 {
		s += fmt.Sprintf(" %d/%d files", p.DoneFiles, p.TotalFiles)
	}
	if p.RateBPS > 0 {
		s += " " + cli.HumanSize(p.RateBPS) + "/s"
		if p.TotalBytes > p.DoneBytes {
			left := float64(p.TotalBytes-p.DoneBytes) / float64(p.RateBPS)
			s += " ETA " + time.Duration(min(left, 1e6)*float64(time.Second)).Round(time.Second).String()
		}
	}
	if p.What != "" {
		s += " " + cli.Line(p.What)
	}
	return s
}
