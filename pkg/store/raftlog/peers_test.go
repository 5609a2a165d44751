package raftlog

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestWedge(t *testing.T) {
	const id, term = "b", 3
	start := time.Unix(1000, 0)
	for _, test := range []struct {
		name          string
		run           func(p *peers, at func(sec int) time.Time)
		wedged, quiet bool
	}{
		{"takes what it is sent", func(p *peers, at func(int) time.Time) {
			for s := range 61 {
				p.heard(id, term, uint64(s+40), at(s))
			}
		}, false, false},
		{"nothing to send for long", func(p *peers, at func(int) time.Time) {
			p.heard(id, term, 100, at(0))
			p.heard(id, term, 0, at(60))
		}, false, false},
		{"heartbeats, but no entry", func(p *peers, at func(int) time.Time) {
			for s := range 61 {
				p.heard(id, term, 0, at(s))
			}
		}, true, false},
		{"stuck in the middle", func(p *peers, at func(int) time.Time) {
			p.heard(id, term, 50, at(0))
			for s := range 61 {
				p.heard(id, term, 50, at(s))
			}
		}, true, false},
		{"takes a snapshot", func(p *peers, at func(int) time.Time) {
			p.sending(id, term, 1, at(0))
			p.heard(id, term, 0, at(60))
		}, false, false},
		{"took one that did not help", func(p *peers, at func(int) time.Time) {
			p.sending(id, term, 1, at(0))
			p.sending(id, term, -1, at(1))
			p.heard(id, term, 0, at(60))
		}, true, false},
		{"is gone", func(p *peers, at func(int) time.Time) { p.heard(id, term, 1, at(10)) }, false, true},
		{"of an older term", func(p *peers, at func(int) time.Time) {
			p.heard(id, term-1, 1, at(0))
			p.heard(id, term-1, 1, at(60))
		}, false, true},
		{"never heard of", func(*peers, func(int) time.Time) {}, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var p peers
			test.run(&p, func(sec int) time.Time { return start.Add(time.Duration(sec) * time.Second) })
			now := start.Add(61 * time.Second)
			if got := p.wedged(id, term, 100, now); got != test.wedged {
				t.Errorf("wedged %v, want %v", got, test.wedged)
			}
			if got := p.silent(id, term, now); got != test.quiet {
				t.Errorf("silent %v, want %v", got, test.quiet)
			}
		})
	}
}

// An idle follower that gets new entries is not wedged at once, whatever the time it had nothing to take.
func TestIdleIsNotWedged(t *testing.T) {
	var p peers
	now := time.Unix(1000, 0)
	p.heard("b", 1, 100, now)
	for range 100 {
		now = now.Add(peerEvery)
		p.heard("b", 1, 0, now)
		if p.wedged("b", 1, 100, now) {
			t.Fatal("wedged with nothing to take")
		}
	}
	for i := range 20 {
		now = now.Add(peerEvery)
		p.heard("b", 1, 0, now)
		if got, want := p.wedged("b", 1, 101, now), time.Duration(i+1)*peerEvery > wedgeAfter; got != want {
			t.Errorf("%d s after a new entry: wedged %v, want %v", i+1, got, want)
		}
	}
}

func TestAlarmsAreLoggedOnce(t *testing.T) {
	var out bytes.Buffer
	var a alarms
	log := slog.New(slog.NewTextHandler(&out, nil))
	for range 3 {
		a.set(map[string]string{"b": "bad"}, log)
	}
	if got := strings.Count(out.String(), "msg=alarm "); got != 1 || len(a.list()) != 1 {
		t.Errorf("%d lines, list %v", got, a.list())
	}
	a.set(nil, log)
	if !strings.Contains(out.String(), `msg="alarm is over" about=b`) || len(a.list()) != 0 {
		t.Errorf("end: %q, list %v", out.String(), a.list())
	}
}
