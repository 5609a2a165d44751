package redisprobe

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

// request is one that is on the way.
type request struct {
	seq  int64
	sent time.Time
}

// pipelined sends a request every interval, whether the one before was answered or not, as long as the window has room. Each is
// an INCR and an ECHO of its number: a reply in the wrong place shows.
func (p *prober) pipelined(ctx context.Context) error {
	onTheWay := make(chan request, p.cfg.Window-1) // one more is in the receiver's hand
	g, gctx := errgroup.WithContext(context.Background())
	g.Go(func() error {
		defer close(onTheWay)
		return p.send(ctx, gctx, onTheWay)
	})
	g.Go(func() error {
		err := p.receive(onTheWay)
		if err != nil {
			p.c.Close() // or the sender would sit in a write until its deadline
		}
		return err
	})
	return g.Wait()
}

// send stops without an error when stop ends; the replies to what it has sent are still received.
func (p *prober) send(stop, failed context.Context, onTheWay chan<- request) error {
	tick := time.NewTicker(p.cfg.Interval)
	defer tick.Stop()
	for seq := int64(1); ; seq++ {
		select {
		case <-stop.Done():
			return nil
		case <-failed.Done():
			return nil
		case <-tick.C:
		}
		req := request{seq: seq, sent: time.Now()}
		if err := p.c.Send("INCR", p.cfg.Key); err != nil {
			return err
		}
		if err := p.c.Send("ECHO", strconv.FormatInt(seq, 10)); err != nil {
			return err
		}
		if err := p.deadline(); err != nil {
			return err
		}
		if err := p.c.Flush(); err != nil {
			return err
		}
		select {
		case onTheWay <- req:
		case <-failed.Done():
			return nil
		}
	}
}

func (p *prober) receive(onTheWay <-chan request) error {
	for req := range onTheWay {
		// The sender moves the deadline too, but it stops when the window is full: silence ends both.
		if err := p.deadline(); err != nil {
			return err
		}
		n, err := p.c.Receive()
		if err != nil {
			return err
		}
		echo, err := p.c.Receive()
		if err != nil {
			return err
		}
		if echo != strconv.FormatInt(req.seq, 10) {
			return fmt.Errorf("reply %v in the place of %d", echo, req.seq)
		}
		if err := p.reply(n, req.sent); err != nil {
			return err
		}
	}
	return nil
}
