package redisprobe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config says how to probe. The zero value probes every millisecond, a reply at a time.
type Config struct {
	Key      string        // the counter; deleted at the start and at the end; default "vzprobe"
	Interval time.Duration // from reply to request, or in pipelined mode from request to request; default 1 ms
	Window   int           // more than 1: pipelined, with so many requests on the way at most
	Timeout  time.Duration // the longest silence before the connection counts as dead; default 60 s
	Gaps     int           // how many of the longest gaps to report; default 10
}

func (c Config) withDefaults() Config {
	if c.Key == "" {
		c.Key = "vzprobe"
	}
	if c.Interval <= 0 {
		c.Interval = time.Millisecond
	}
	if c.Timeout <= 0 {
		c.Timeout = time.Minute
	}
	if c.Gaps <= 0 {
		c.Gaps = 10
	}
	return c
}

// Gap is a time between two replies.
type Gap struct {
	MS float64   `json:"ms"`
	At time.Time `json:"at"` // when it began: the reply before
}

// Summary is what the probe saw of one connection.
type Summary struct {
	Event      string    `json:"event"` // "summary"
	Start      time.Time `json:"start"`
	End        time.Time `json:"end"`
	Count      int64     `json:"count"`      // replies
	First      int64     `json:"first"`      // first reply
	Last       int64     `json:"last"`       // last reply
	Lost       int64     `json:"lost"`       // increments that were acknowledged and are gone
	Repeated   int64     `json:"repeated"`   // increments that were carried out more than once
	Reconnects int       `json:"reconnects"` // always 0: the probe has one connection
	MaxLatency float64   `json:"max_latency_ms"`
	Gaps       []Gap     `json:"gaps"` // the longest first
	Error      string    `json:"error,omitempty"`
}

// Err tells what is wrong with a run, nil if nothing is.
func (s Summary) Err() error {
	switch {
	case s.Error != "":
		return errors.New(s.Error)
	case s.Lost != 0 || s.Repeated != 0:
		return fmt.Errorf("%d increments lost, %d repeated", s.Lost, s.Repeated)
	case s.Count == 0:
		return errors.New("no reply at all")
	case s.First != 1 || s.Last != s.Count:
		return fmt.Errorf("%d replies count from %d to %d", s.Count, s.First, s.Last)
	}
	return nil
}

// String is the summary for people.
func (s Summary) String() string {
	var gaps []string
	for _, g := range s.Gaps[:min(len(s.Gaps), 4)] {
		gaps = append(gaps, fmt.Sprintf("%.0f ms", g.MS))
	}
	return fmt.Sprintf("%d increments on one connection, %d lost, %d repeated; longest gaps %s", s.Count, s.Lost, s.Repeated, strings.Join(gaps, ", "))
}

// Longest returns the longest gap, 0 if there is none.
func (s Summary) Longest() time.Duration {
	if len(s.Gaps) == 0 {
		return 0
	}
	return time.Duration(s.Gaps[0].MS * float64(time.Millisecond))
}

// Run probes over a connection until ctx ends or the connection dies, and returns what it saw in either case. What is wrong is
// in Summary.Err.
func Run(ctx context.Context, c *Conn, cfg Config) Summary {
	cfg = cfg.withDefaults()
	p := &prober{c: c, cfg: cfg}
	p.sum = Summary{Event: "summary", Start: time.Now()}
	err := p.run(ctx)
	p.sum.End = time.Now()
	if err != nil {
		p.sum.Error = err.Error()
	}
	return p.sum
}

type prober struct {
	c    *Conn
	cfg  Config
	sum  Summary
	prev time.Time // of the last reply
}

func (p *prober) run(ctx context.Context) error {
	if err := p.deadline(); err != nil {
		return err
	}
	if _, err := p.c.Do("DEL", p.cfg.Key); err != nil {
		return err
	}
	var err error
	if p.cfg.Window > 1 {
		err = p.pipelined(ctx)
	} else {
		err = p.stepwise(ctx)
	}
	if err != nil {
		return err
	}
	return p.finish()
}

// finish compares the counter as the server has it with the last reply, and removes it, so that the data is as it was before.
func (p *prober) finish() error {
	if err := p.deadline(); err != nil {
		return err
	}
	v, err := p.c.Do("GET", p.cfg.Key)
	if err != nil {
		return err
	}
	if s, ok := v.(string); p.sum.Count > 0 && (!ok || s != strconv.FormatInt(p.sum.Last, 10)) {
		return fmt.Errorf("the counter is %v after the reply %d", v, p.sum.Last)
	}
	_, err = p.c.Do("DEL", p.cfg.Key)
	return err
}

// stepwise sends a request an interval after the reply before.
func (p *prober) stepwise(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if err := p.deadline(); err != nil {
			return err
		}
		sent := time.Now()
		v, err := p.c.Do("INCR", p.cfg.Key)
		if err != nil {
			return err
		}
		if err := p.reply(v, sent); err != nil {
			return err
		}
		timer.Reset(p.cfg.Interval)
	}
}

// deadline lets the connection fail when nothing comes for the time-out.
func (p *prober) deadline() error {
	return p.c.nc.SetDeadline(time.Now().Add(p.cfg.Timeout))
}

// reply accounts for one reply to an increment.
func (p *prober) reply(v any, sent time.Time) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("odd reply to INCR: %v", v)
	}
	now := time.Now()
	s := &p.sum
	if s.Count == 0 {
		s.First = n
	} else {
		p.gap(Gap{MS: milliseconds(now.Sub(p.prev)), At: p.prev})
	}
	if want := s.Last + 1; n < want {
		s.Lost += want - n
	} else {
		s.Repeated += n - want
	}
	s.Count++
	s.Last = n
	s.MaxLatency = max(s.MaxLatency, milliseconds(now.Sub(sent)))
	p.prev = now
	return nil
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}

// gap keeps the longest gaps in order.
func (p *prober) gap(g Gap) {
	gaps := p.sum.Gaps
	if len(gaps) == p.cfg.Gaps && g.MS <= gaps[len(gaps)-1].MS {
		return
	}
	i, _ := slices.BinarySearchFunc(gaps, g, func(a, b Gap) int {
		if a.MS >= b.MS {
			return -1
		}
		return 1
	})
	gaps = slices.Insert(gaps, i, g)
	p.sum.Gaps = gaps[:min(len(gaps), p.cfg.Gaps)]
}
