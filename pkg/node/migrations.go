package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate"
	"github.com/vzcluster/vzcluster/proto/vzpb"
	"google.golang.org/grpc"
)

// runner is a side of a migration: migrate.Source or migrate.Target.
type runner interface {
	Run(ctx context.Context) error
	Assign(migrate.Assignment)
	Status() migrate.Status
	Phase() cluster.Phase
	Closed() bool
	Forget() error
}

// desiredMigration is the leader's word on one attempt.
type desiredMigration struct {
	role string
	migrate.Assignment
}

// migration is one attempt that this node takes part in. Guarded by the agent's mu.
type migration struct {
	begin  migrate.Begin
	runner runner          // nil until its journal is open
	target *migrate.Target // the runner, if it is one
	latest *desiredMigration
	failed string // it can't even begin

	settled  bool // the side's last action is done: the container is again what it looks like
	over     bool // Run has returned
	quiesced bool // nobody may enter any more
}

// active tells whether the migration has the container in its hands.
func (m *migration) active() bool { return !m.settled && !m.over }

// closedDoor tells whether exec is refused.
func (m *migration) closedDoor() bool {
	if !m.active() {
		return false
	}
	if m.quiesced || m.begin.Role == migrate.RoleTarget || m.runner == nil {
		return true
	}
	switch m.runner.Phase() {
	case "", cluster.PhaseSwitch, cluster.PhaseCommitted, cluster.PhaseDone, cluster.PhaseAborting, cluster.PhaseFailed:
		return true
	}
	return false
}

func (m *migration) assign(d desiredMigration) {
	m.latest = &d
	if m.runner != nil && d.role == m.begin.Role {
		m.runner.Assign(d.Assignment)
	}
}

func (m *migration) report(id string) (*vzpb.MigrationReport, error) {
	out := &vzpb.MigrationReport{Id: id, Role: m.begin.Role, Error: m.failed, Ctid: m.begin.Attempt.Container.CTID, Epoch: uint64(m.begin.Attempt.Epoch)}
	if m.runner == nil {
		return out, nil
	}
	s := m.runner.Status()
	out.Step, out.Digest, out.Error, out.Progress = s.Step, s.Digest, s.Error, s.Progress
	for _, st := range s.Stages {
		out.Stages = append(out.Stages, &vzpb.StageTime{Stage: st.Stage, StartUnixNs: st.Start.UnixNano(), DurationNs: int64(st.Duration)})
	}
	if s.Stats != nil {
		var err error
		if out.StatsJson, err = json.Marshal(s.Stats); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func decodeMigration(p *vzpb.MigrationAssignment) (d desiredMigration, err error) {
	d.role, d.Peer = p.Role, p.PeerAddr
	if d.role != migrate.RoleSource && d.role != migrate.RoleTarget {
		return d, fmt.Errorf("role %q", d.role)
	}
	if err := json.Unmarshal(p.Json, &d.Migration); err != nil {
		return d, err
	}
	if len(p.ContainerJson) > 0 {
		if err := json.Unmarshal(p.ContainerJson, &d.Container); err != nil {
			return d, err
		}
	}
	if d.Migration.ID != p.Id {
		return d, errors.New("the record is of another")
	}
	return d, nil
}

// startMigrations begins every open attempt that this node has a part in and does not know yet. An attempt that is decided already has
// nothing to begin. Called with mu held.
func (a *Agent) startMigrations() {
	inHands := a.inHands()
	for id, d := range a.desired {
		m, c := d.Migration, d.Container
		if a.migrations[id] != nil || m.Closed || m.Phase.Decided() || inHands[m.CTID] {
			continue
		}
		if c.CTID != m.CTID || c.Epoch != m.Epoch || c.Node != m.Source {
			continue // not what was planned: the leader sorts it out (R5)
		}
		node := m.Source
		if d.role == migrate.RoleTarget {
			node = m.Target
		}
		if node != a.cfg.Name {
			continue
		}
		begin := migrate.Begin{Role: d.role, Attempt: migrate.Attempt{ID: id, Epoch: m.Epoch, Container: c}}
		mg := &migration{begin: begin, latest: &d}
		a.migrations[id] = mg
		inHands[m.CTID] = true
		a.tasks.Go(func() error {
			if err := a.open(mg); err != nil {
				a.log.Error("migration can't begin", "migration", id, "err", err)
				a.mu.Lock()
				mg.failed, mg.over = err.Error(), true
				a.mu.Unlock()
				a.wake()
				return nil
			}
			return a.drive(mg)
		})
	}
}

// resume goes on with an attempt that has a journal.
func (a *Agent) resume(b migrate.Begin) error {
	m := &migration{begin: b}
	if err := a.open(m); err != nil {
		return err
	}
	a.mu.Lock()
	a.migrations[b.Attempt.ID] = m
	a.mu.Unlock()
	a.tasks.Go(func() error { return a.drive(m) })
	return nil
}

// open makes the runner, with its journal.
func (a *Agent) open(m *migration) error {
	settled := func(ctx context.Context) {
		a.mu.Lock()
		m.settled = true
		a.mu.Unlock()
		a.refresh(ctx)
	}
	var r runner
	var target *migrate.Target
	var err error
	if m.begin.Role == migrate.RoleSource {
		r, err = migrate.NewSource(migrate.SourceConfig{
			Engine: a.cfg.Runtime, JournalDir: a.journalDir(), ImagesDir: a.imagesDir(), Notify: a.wake, Settled: settled,
			Dial:      func(addr string) (*grpc.ClientConn, error) { return a.cfg.Dial(addr, migrate.TransferOptions()...) },
			Quiesce:   func() error { return a.quiesce(m) },
			WaitLease: a.lease.wait, Faults: a.cfg.Faults, Log: a.log,
		}, m.begin.Attempt)
	} else {
		target, err = migrate.NewTarget(migrate.TargetConfig{
			Engine: a.cfg.Runtime, Node: a.cfg.Name, JournalDir: a.journalDir(), ImagesDir: a.imagesDir(), Notify: a.wake, Settled: settled,
			WaitLease: a.lease.wait, ColdStart: a.coldStart, Log: a.log,
		}, m.begin.Attempt)
		r = target
	}
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	m.runner, m.target = r, target
	if m.latest != nil {
		r.Assign(m.latest.Assignment)
	}
	return nil
}

// drive runs a side until it is over.
func (a *Agent) drive(m *migration) error {
	err := m.runner.Run(a.ctx)
	if a.ctx.Err() != nil {
		return nil // what is left to do is in the journal
	}
	if err != nil {
		// Its journal can't be written. Going on without would be guessing after the next crash.
		return &fatalError{fmt.Errorf("migration %s: %w", m.begin.Attempt.ID, err)}
	}
	a.mu.Lock()
	m.over = true
	a.mu.Unlock()
	a.refresh(a.ctx)
	a.wake()
	a.forgetClosed()
	a.reconcile()
	return nil
}

// forgetClosed drops attempts that are over here and closed at the masters.
func (a *Agent) forgetClosed() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, m := range a.migrations {
		if !m.over {
			continue
		}
		closed := m.latest != nil && m.latest.Migration.Closed
		if m.runner != nil && closed {
			if err := m.runner.Forget(); err != nil {
				a.log.Error("journal stays behind", "migration", id, "err", err)
				continue
			}
		}
		if closed {
			delete(a.migrations, id)
		}
	}
}

// quiesce closes the door of a container that is about to be frozen: a process that came in from outside can't be dumped.
func (a *Agent) quiesce(m *migration) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	m.quiesced = true
	if n := a.sessions[m.begin.Attempt.Container.CTID]; n > 0 {
		return fmt.Errorf("%d exec session(s) open in the container: end them first", n)
	}
	return nil
}

// coldStart starts a container from its disk whose tasks were lost after the commit.
func (a *Agent) coldStart(ctx context.Context, at migrate.Attempt, epoch cluster.Epoch) error {
	c := at.Container
	a.mu.Lock()
	if m := a.migrations[at.ID]; m != nil && m.latest != nil && m.latest.Container.CTID == c.CTID {
		c = m.latest.Container
	}
	a.mu.Unlock()
	c.Node, c.Epoch = a.cfg.Name, epoch
	if c.Want != cluster.WantRunning {
		return nil
	}
	return a.cfg.Runtime.Start(ctx, c)
}
