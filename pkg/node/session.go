package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
	"google.golang.org/grpc/status"
)

const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 2 * time.Second
	// silence: no directive for this many periods and a little, and another master is tried.
	silentPeriods = 3
	silentGrace   = 2 * time.Second
)

// session keeps a session to the leader, whoever that is, until ctx ends. Losing it stops nothing here.
func (a *Agent) session(ctx context.Context) error {
	next := rand.IntN(len(a.cfg.Masters)) // not all agents at the same master first
	hint := ""
	backoff := minBackoff
	for {
		addr := hint
		if addr == "" {
			addr = a.cfg.Masters[next%len(a.cfg.Masters)]
			next++
		}
		served, err := a.sessionTo(ctx, addr)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.As(err, new(*fatalError)) {
			return err
		}
		from := hint
		hint = leaderHint(err)
		if served {
			backoff = minBackoff
		}
		// A hint is followed at once, but not from hint to hint for ever.
		if hint != "" && hint != addr && from == "" {
			continue
		}
		a.log.Warn("no session", "master", addr, "err", err)
		if err := sleepJitter(ctx, backoff); err != nil {
			return err
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// fatalError ends the agent: its own disk failed it.
type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }
func (e *fatalError) Unwrap() error { return e.err }

// leaderHint finds "leader: ADDR" in a master's refusal.
func leaderHint(err error) string {
	_, addr, ok := strings.Cut(status.Convert(err).Message(), "leader: ")
	if !ok {
		return ""
	}
	addr, _, _ = strings.Cut(addr, " ")
	if !strings.Contains(addr, ":") || strings.HasSuffix(addr, ":") {
		return ""
	}
	return strings.TrimRight(addr, ",;")
}

func sleepJitter(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// link is one session's stream.
type link struct {
	a *Agent

	mu     sync.Mutex
	sent   map[uint64]time.Duration // when each report that is not yet acknowledged was sent
	period time.Duration

	reconciled bool // a complete directive was taken in
	heard      chan struct{}
}

// sessionTo holds one session. served: the master led.
func (a *Agent) sessionTo(ctx context.Context, addr string) (served bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := a.cfg.Dial(addr)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	stream, err := vzpb.NewSessionClient(conn).Session(ctx)
	if err != nil {
		return false, err
	}
	l := &link{a: a, sent: map[uint64]time.Duration{}, period: DefaultPeriod, heard: make(chan struct{}, 1)}
	ended := make(chan error, 1)
	go func() { ended <- l.receive(stream.Recv) }()
	defer func() {
		cancel()
		if ended != nil {
			<-ended
		}
		served = l.reconciled
	}()

	report := time.NewTimer(0)
	defer report.Stop()
	silence := time.NewTimer(silentPeriods*DefaultPeriod + silentGrace)
	defer silence.Stop()
	for seq := uint64(1); ; {
		select {
		case <-report.C:
		case <-a.news:
		case <-l.heard:
			silence.Reset(silentPeriods*l.every() + silentGrace)
			continue
		case <-silence.C:
			return false, errors.New("the master has fallen silent")
		case err := <-ended:
			ended = nil
			return false, err
		}
		r, err := a.report(seq)
		if err != nil {
			return false, &fatalError{err}
		}
		l.sending(seq)
		if err := stream.Send(r); err != nil {
			if errors.Is(err, io.EOF) { // the reason comes from Recv
				err = <-ended
				ended = nil
			}
			return false, err
		}
		seq++
		report.Reset(l.every())
	}
}

func (l *link) every() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.period
}

func (l *link) sending(seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[seq] = l.a.cfg.Clock()
}

func (l *link) receive(recv func() (*vzpb.Directive, error)) error {
	for {
		d, err := recv()
		if err != nil {
			return err
		}
		if err := l.directive(d); err != nil {
			return err
		}
		select {
		case l.heard <- struct{}{}:
		default:
		}
	}
}

// directive takes in what the leader wants, and only then lets the lease count (R14).
func (l *link) directive(d *vzpb.Directive) error {
	ok, err := l.a.state.admit(d.Term)
	if err != nil {
		return &fatalError{fmt.Errorf("remember the leader's term: %w", err)}
	}
	if !ok {
		return fmt.Errorf("STALE_EPOCH: a leader of term %d, after one of term %d was obeyed", d.Term, l.a.state.maxTerm())
	}
	if d.Complete {
		if err := l.a.take(d); err != nil {
			return fmt.Errorf("directive: %w", err)
		}
		l.reconciled = true
	}
	l.mu.Lock()
	if d.PeriodNs > 0 {
		l.period = min(max(time.Duration(d.PeriodNs), 10*time.Millisecond), time.Minute)
	}
	sent, known := l.sent[d.Ack]
	maps.DeleteFunc(l.sent, func(seq uint64, _ time.Duration) bool { return seq <= d.Ack })
	l.mu.Unlock()
	if known && l.reconciled && d.LeaseNs > 0 {
		l.a.lease.renew(sent + time.Duration(d.LeaseNs))
	}
	return nil
}

// take takes a complete directive in.
func (a *Agent) take(d *vzpb.Directive) error {
	want := make(map[string]wanted, len(d.Containers))
	for _, as := range d.Containers {
		var c cluster.Container
		if err := json.Unmarshal(as.Json, &c); err != nil {
			return fmt.Errorf("container %q: %w", as.Ctid, err)
		}
		if err := cluster.ValidateCTID(as.Ctid); err != nil || c.CTID != as.Ctid || uint64(c.Epoch) != as.Epoch || c.Node != a.cfg.Name {
			return fmt.Errorf("container %q: the record is of another", as.Ctid)
		}
		want[c.CTID] = wanted{c, as.Destroy}
	}
	moves := make(map[string]desiredMigration, len(d.Migrations))
	for _, m := range d.Migrations {
		dm, err := decodeMigration(m)
		if err != nil {
			return fmt.Errorf("migration %q: %w", m.Id, err)
		}
		moves[m.Id] = dm
	}
	a.mu.Lock()
	a.wanted, a.discards, a.desired = want, d.Discards, moves
	for ctid := range a.failures {
		if _, ok := want[ctid]; !ok {
			delete(a.failures, ctid)
		}
	}
	for id, dm := range moves {
		if m := a.migrations[id]; m != nil {
			m.assign(dm)
		}
	}
	a.wantTemplates(d.Templates)
	a.mu.Unlock()
	a.forgetClosed()
	a.reconcile()
	return nil
}
