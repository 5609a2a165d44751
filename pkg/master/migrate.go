package master

import (
	"context"
	"errors"
	"strconv"
	"time"

	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/scheduler"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// Migrate implements the Cluster service: it checks everything that can be checked beforehand and makes the record. The rest is the
// migrations loop's.
func (s *service) Migrate(ctx context.Context, r *vzpb.MigrateRequest) (*vzpb.MigrationResponse, error) {
	mode := r.Mode
	if mode == "" {
		mode = cluster.ModeAuto
	}
	if mode != cluster.ModeAuto && mode != cluster.ModeStopCopy {
		return nil, invalid("mode", r.Mode, "not a mode of migration", "use auto or stopcopy")
	}
	if r.To == "" {
		return nil, invalid("to", "", "no target given", "name a node: --to NODE")
	}
	var planned cluster.Migration
	st, id, _, err := s.mutate(ctx, "Migrate", r, func(tx *store.Tx, now time.Time) (string, error) {
		c, ok := tx.FindContainer(r.Name)
		if !ok {
			return "", unknownContainer(r.Name)
		}
		m, err := s.newMigration(tx, c, r.To, now)
		if err != nil {
			return "", err
		}
		m.Mode, m.BWLimit = mode, r.Bwlimit
		planned = m
		if r.DryRun {
			return "", errDryRun
		}
		m.ID = strconv.FormatUint(tx.Next(store.MigrationCounter), 10)
		c.Migration, c.Changed = m.ID, now
		tx.Migrations().Put(m)
		tx.Containers().Put(c)
		return m.ID, nil
	})
	if r.DryRun && errors.Is(err, errDryRun) {
		return migrationResponse(planned, sight{})
	}
	if err != nil {
		return nil, err
	}
	m, ok := st.Migrations().Get(id)
	if !ok {
		return nil, notFound("migration %s: closed long ago and forgotten", id)
	}
	return migrationResponse(m, sight{})
}

// newMigration checks that c can go to the node named to, with room for it there, and makes the record.
func (s *service) newMigration(tx *store.Tx, c cluster.Container, to string, now time.Time) (cluster.Migration, error) {
	var none cluster.Migration
	if err := unlocked(tx, c); err != nil {
		return none, err
	}
	if err := usable(c); err != nil {
		return none, err
	}
	target, ok := tx.Nodes().Get(to)
	if !ok {
		return none, unknownNode(to)
	}
	switch {
	case c.Node == to:
		return none, refuse("container %s: it is on node %s already", label(c), to)
	case c.State != cluster.ContainerRunning || c.Want != cluster.WantRunning:
		return none, refuse("container %s: it is %s; this version migrates running containers only: start it first", label(c), c.State)
	case target.Cordoned:
		return none, refuse("node %s is cordoned (%s); choose another or uncordon it", to, orText(target.CordonReason, "no reason given"))
	case target.State != cluster.NodeOnline:
		return none, refuse("node %s is %s; choose another", to, target.State)
	}
	source, _ := tx.Nodes().Get(c.Node)
	if source.State != cluster.NodeOnline {
		return none, refuse("container %s: its node %s is %s", label(c), c.Node, source.State)
	}
	if source.BootID != c.BootID {
		return none, refuse("container %s: its node %s has just booted; wait until the container runs again", label(c), c.Node)
	}
	if why := incompatible(source, target); why != "" {
		return none, refuse("container %s can't run on from %s to %s: %s", label(c), c.Node, to, why)
	}
	if err := scheduler.Check(s.txSnapshot(tx, ""), scheduler.Request{Need: c.Spec.Resources}, to); err != nil {
		return none, err
	}
	return cluster.Migration{CTID: c.CTID, Source: c.Node, Target: to, Epoch: c.Epoch, Phase: cluster.PhasePending, Reserved: c.Spec.Resources,
		SourceBoot: source.BootID, TargetBoot: target.BootID, Deadline: now.Add(s.m.cfg.Timeouts.Prepare), Created: now, Changed: now}, nil
}

func migrationResponse(m cluster.Migration, seen sight) (*vzpb.MigrationResponse, error) {
	b, err := encode(m)
	if err != nil {
		return nil, err
	}
	out := &vzpb.MigrationResponse{Json: b}
	if m.Closed {
		return out, nil
	}
	for _, end := range []struct{ node, role string }{{m.Source, roleSource}, {m.Target, roleTarget}} {
		if sr, ok := side(seen.nodes[end.node], m.ID, end.role); ok && sr.Progress != nil {
			out.Progress = sr.Progress
			break
		}
	}
	return out, nil
}

// ListMigrations implements the Cluster service.
func (s *service) ListMigrations(ctx context.Context, r *vzpb.ListMigrationsRequest) (*vzpb.ListMigrationsResponse, error) {
	st, seen, err := s.fresh(ctx)
	if err != nil {
		return nil, err
	}
	ctid := r.Name
	if c, ok := st.FindContainer(r.Name); ok {
		ctid = c.CTID
	} else if _, known := st.Gone().Get(r.Name); r.Name != "" && !known {
		return nil, unknownContainer(r.Name)
	}
	out := &vzpb.ListMigrationsResponse{}
	for m := range st.Migrations().All() {
		if (ctid != "" && m.CTID != ctid) || (m.Closed && !r.All) {
			continue
		}
		one, err := migrationResponse(m, seen)
		if err != nil {
			return nil, err
		}
		out.Migrations = append(out.Migrations, one)
	}
	return out, nil
}

// progressPeriod is how often live progress is sent between two changes of the record.
const progressPeriod = 250 * time.Millisecond

// WatchMigration implements the Cluster service.
func (s *service) WatchMigration(r *vzpb.WatchMigrationRequest, stream grpc.ServerStreamingServer[vzpb.MigrationResponse]) error {
	return s.watch(stream.Context(), progressPeriod, func(st *store.State, seen sight, sent *string) (done bool, err error) {
		m, ok := st.Migrations().Get(r.Id)
		if !ok {
			return true, notFound("migration %q: unknown", r.Id)
		}
		out, err := migrationResponse(m, seen)
		if err != nil {
			return true, err
		}
		if now := string(out.Json) + out.Progress.String(); now != *sent {
			*sent = now
			err = within(stream.Context(), func() error { return stream.Send(out) })
		}
		return m.Closed, err
	})
}

// WatchContainer implements the Cluster service. It ends with NOT_FOUND when the container is gone.
func (s *service) WatchContainer(r *vzpb.WatchContainerRequest, stream grpc.ServerStreamingServer[vzpb.ContainerResponse]) error {
	ctid := ""
	return s.watch(stream.Context(), 0, func(st *store.State, seen sight, sent *string) (done bool, err error) {
		if ctid == "" {
			c, ok := st.FindContainer(r.Name)
			if !ok {
				return true, unknownContainer(r.Name)
			}
			ctid = c.CTID // a name may be given to another container later
		}
		c, ok := st.Containers().Get(ctid)
		if !ok {
			return true, unknownContainer(r.Name)
		}
		out, err := containerResponse(c, seen)
		if err != nil {
			return true, err
		}
		if string(out.Json) != *sent {
			*sent = string(out.Json)
			err = within(stream.Context(), func() error { return stream.Send(out) })
		}
		return false, err
	})
}
