package master

import (
	"log/slog"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate"
	"github.com/vzcluster/vzcluster/pkg/store"
)

// absorb copies what a side reports of its part into the record: the one place where that happens. It tells whether anything that is
// worth storing has changed; figures alone are not, they come along with the next step.
func absorb(m *cluster.Migration, source, target *report) (changed bool) {
	if m.Closed {
		return false
	}
	if s, ok := side(source, m.ID, roleSource); ok {
		moved := m.ForwardSource(cluster.SourceStep(s.Step))
		changed = absorbSide(&m.From, s, moved, m.Phase.Decided()) || changed
		mergeStats(&m.Stats, s.Stats)
	}
	if s, ok := side(target, m.ID, roleTarget); ok {
		moved := m.ForwardTarget(cluster.TargetStep(s.Step))
		changed = absorbSide(&m.To, s, moved, m.Phase.Decided()) || changed
		mergeStats(&m.Stats, s.Stats)
	}
	if changed {
		m.Stats.Frozen = max(m.Stats.Frozen, frozen(*m))
	}
	return changed
}

func side(r *report, id, role string) (sideReport, bool) {
	if r == nil {
		return sideReport{}, false
	}
	s, ok := r.Migrations[id]
	return s, ok && s.Role == role
}

func absorbSide[S ~string](to *cluster.Side[S], s sideReport, moved, decided bool) (changed bool) {
	if moved && s.Digest != "" && to.Digest == "" {
		to.Digest = s.Digest // comes with the vote and is never exchanged afterwards
	}
	// Before the verdict the first error is the reason; after it the newest is what an operator needs.
	if s.Error != "" && s.Error != to.Error && (to.Error == "" || decided) {
		to.Error, changed = s.Error, true
	}
	if len(s.Stages) > len(to.Stages) {
		to.Stages, changed = s.Stages, true
	}
	return changed || moved
}

// mergeStats takes each figure that a side knows; a side leaves those that it doesn't know at 0.
func mergeStats(to *cluster.MigrationStats, s cluster.MigrationStats) {
	to.RootfsBytes = max(to.RootfsBytes, s.RootfsBytes)
	to.RootfsFiles = max(to.RootfsFiles, s.RootfsFiles)
	to.FinalBytes = max(to.FinalBytes, s.FinalBytes)
	to.ImageBytes = max(to.ImageBytes, s.ImageBytes)
	to.Rounds = max(to.Rounds, s.Rounds)
	to.Frozen = max(to.Frozen, s.Frozen)
}

// frozen works out the frozen time from the two sides' stages, by their wall clocks: start of "freeze" to the end of "release".
func frozen(m cluster.Migration) time.Duration {
	var from, to time.Time
	for _, s := range m.From.Stages {
		if s.Stage == migrate.StageFreeze {
			from = s.Start
		}
	}
	for _, s := range m.To.Stages {
		if s.Stage == migrate.StageRelease {
			to = s.Start.Add(s.Duration)
		}
	}
	if from.IsZero() || to.IsZero() {
		return 0
	}
	return max(0, to.Sub(from))
}

// advance is the migrations plan for one record: takes over the reports and then all steps that are due, so that a vote and the commit
// that follows from it are one transaction. It returns the steps taken.
func advance(m *cluster.Migration, c *cluster.Container, nodes getter[cluster.Node], seen sight, now time.Time, t migrate.Timeouts) (changed bool, taken []migrate.Change, wake time.Time, err error) {
	sourceReport, targetReport := seen.nodes[m.Source], seen.nodes[m.Target]
	changed = absorb(m, sourceReport, targetReport)
	source, _ := nodes.Get(m.Source)
	target, _ := nodes.Get(m.Target)
	for range 8 { // a migration has fewer edges
		var ch *migrate.Change
		ch, wake = migrate.Next(*m, sourceReport.seen(source, *m, roleSource), targetReport.seen(target, *m, roleTarget), now, t)
		if ch == nil {
			break
		}
		if err := migrate.Apply(m, c, *ch, now); err != nil {
			return changed, taken, now.Add(time.Second), err
		}
		changed, taken = true, append(taken, *ch)
	}
	return changed, taken, wake, nil
}

// migrations is the plan that writes migrations, and the ownership of the containers that they move.
func (t *term) migrations(st *store.State, seen sight, now time.Time) (steps []step, wake time.Time) {
	for m := range st.Migrations().All() {
		if m.Closed {
			continue
		}
		id := m.ID
		var c *cluster.Container
		if rec, ok := st.Containers().Get(m.CTID); ok {
			c = &rec
		}
		if c != nil && c.Adopt {
			continue // its outcome is to be found out
		}
		changed, _, w, err := advance(&m, c, st.Nodes(), seen, now, t.m.cfg.Timeouts)
		wake = soonest(wake, w)
		if err == nil && !changed {
			continue
		}
		steps = append(steps, step{"migration " + id, func(tx *store.Tx) (func(), error) {
			return t.advanceTx(tx, id, seen, now)
		}})
	}
	return steps, wake
}

func (t *term) advanceTx(tx *store.Tx, id string, seen sight, now time.Time) (func(), error) {
	m, ok := tx.Migrations().Get(id)
	if !ok || m.Closed {
		return nil, nil
	}
	was := m
	var c *cluster.Container
	if rec, ok := tx.Containers().Get(m.CTID); ok {
		c = &rec
	}
	if c != nil && c.Adopt {
		return nil, nil
	}
	changed, taken, _, err := advance(&m, c, tx.Nodes(), seen, now, t.m.cfg.Timeouts)
	if err != nil || !changed {
		return nil, err
	}
	tx.Migrations().Put(m)
	if c != nil {
		tx.Containers().Put(*c)
	}
	return func() { logMigration(was, m, taken) }, nil
}

func logMigration(was, m cluster.Migration, taken []migrate.Change) {
	log := slog.With("migration", m.ID, "ctid", m.CTID, "source", m.Source, "target", m.Target)
	if was.From.Step != m.From.Step || was.To.Step != m.To.Step {
		log.Info("migration steps", "source_step", m.From.Step, "target_step", m.To.Step)
	}
	from := was.Phase
	for _, ch := range taken {
		if ch.To != "" {
			log.Info("migration phase", "from", from, "to", ch.To, "reason", ch.Reason)
			from = ch.To
		}
		if ch.Alarm {
			log.Error("migration needs a look", "phase", from, "reason", orText(ch.Reason, "a side does not clean up"))
		}
		if ch.Close {
			log.Info("migration closed", "phase", from, "frozen", m.Stats.Frozen)
		}
	}
}
