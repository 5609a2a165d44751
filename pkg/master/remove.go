package master

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// removedCounter is the counter that says: a master with this data directory was removed, and must never come back with it.
func removedCounter(instance string) string { return "removed-master-" + instance }

// RemoveMaster implements the Cluster service.
func (s *service) RemoveMaster(ctx context.Context, r *vzpb.RemoveMasterRequest) (*vzpb.ListMastersResponse, error) {
	if len(r.Ids) == 0 {
		return nil, invalid("masters", "", "none named", "name at least one; 'master list' shows them")
	}
	st, _, err := s.fresh(ctx)
	if err != nil {
		return nil, err
	}
	if _, done := st.Operations().Get(r.OpKey); !done {
		if err := s.removeServers(ctx, st, r); err != nil {
			return nil, err
		}
	}
	st, _, _, err = s.mutate(ctx, "RemoveMaster", r, func(tx *store.Tx, _ time.Time) (string, error) {
		for _, id := range r.Ids {
			rec, ok := tx.Masters().Get(id)
			if ok && rec.Instance != "" {
				tx.Next(removedCounter(rec.Instance))
			}
			tx.Masters().Delete(id)
		}
		return strings.Join(r.Ids, ","), nil
	})
	if err != nil {
		return nil, err
	}
	return s.listMasters(ctx, st)
}

// removeServers takes the masters out of the agreement, one after the other, those that don't answer first.
func (s *service) removeServers(ctx context.Context, st *store.State, r *vzpb.RemoveMasterRequest) error {
	infos := s.m.roll(ctx, st)
	voting := infos
	if s.m.members == nil {
		// Others decide, so any number of masters will do; the last one can't go because nobody could take over from it.
		voting = slices.Clone(infos)
		for i := range voting {
			voting[i].Voter = false
		}
	}
	if err := removable(voting, r.Ids, r.Force); err != nil {
		return err
	}
	if slices.Contains(r.Ids, s.m.cfg.ID) {
		to, err := successor(infos, r.Ids)
		if err != nil {
			return err
		}
		if err := s.m.handOver(ctx, to); err != nil {
			return status.Errorf(codes.Unavailable, "this master (%s) leads and could not hand over to %s before it is removed: %v; nothing was changed, try again", s.m.cfg.ID, to, err)
		}
		return noLeader("this master hands the leadership over before it is removed")
	}
	if s.m.members == nil {
		return nil
	}
	ids := slices.Clone(r.Ids)
	slices.SortStableFunc(ids, func(a, b string) int { return boolInt(answers(infos, a)) - boolInt(answers(infos, b)) })
	for _, id := range ids {
		if err := s.m.members.RemoveServer(ctx, id); err != nil {
			return toStatus(fmt.Errorf("remove master %s: %w", id, err))
		}
		slog.Info("master removed", "master", id)
	}
	return nil
}

func answers(infos []cluster.MasterInfo, id string) bool {
	return slices.ContainsFunc(infos, func(i cluster.MasterInfo) bool { return i.ID == id && i.State != nil })
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// removable tells whether the masters ids may go: those that remain must be able to decide without them. force lets an even number of
// voters remain; nothing lets the cluster lose its quorum.
func removable(infos []cluster.MasterInfo, ids []string, force bool) error {
	for i, id := range ids {
		if slices.Contains(ids[:i], id) {
			return invalid("master", id, "named twice", "name each once")
		}
		if !slices.ContainsFunc(infos, func(m cluster.MasterInfo) bool { return m.ID == id }) {
			return notFound("master %q: unknown; 'master list' shows the masters", id)
		}
	}
	before, after, answering := 0, 0, 0
	var silent []string
	for _, m := range infos {
		if !m.Voter {
			continue
		}
		before++
		if slices.Contains(ids, m.ID) {
			continue
		}
		if after++; m.State != nil {
			answering++
		} else {
			silent = append(silent, m.ID)
		}
	}
	quorum := after/2 + 1
	switch {
	case before == after:
		return nil // none of them votes
	case after == 0:
		return refuse("the last voting master can't be removed: nobody would know the cluster any more; add another one first")
	case answering < quorum:
		return refuse("of the %d voting masters that would remain only %d answer (not %s), and %d are needed: the cluster would stop; bring them back or remove them first",
			after, answering, strings.Join(silent, ", "), quorum)
	case after%2 == 0 && !force:
		return refuse("%d voting masters would remain: no more of them may fail than of %d; remove two at once, add another one first, or use --force", after, after-1)
	}
	return nil
}

// successor chooses who takes over from a leader that is to be removed: the voter that is least behind.
func successor(infos []cluster.MasterInfo, without []string) (string, error) {
	best := cluster.MasterInfo{}
	for _, m := range infos {
		if m.Voter && m.State != nil && !slices.Contains(without, m.ID) && (best.ID == "" || m.Lag < best.Lag) {
			best = m
		}
	}
	if best.ID == "" {
		return "", refuse("no other voting master answers that could take the leadership over")
	}
	return best.ID, nil
}

// errStepDown ends a term on request.
var errStepDown = errors.New("asked to step down")

// handOver has the leadership move to the master to (empty: to any). It returns when this master no longer leads, or with why it does.
func (m *Master) handOver(ctx context.Context, to string) error {
	if m.members != nil {
		return m.members.TransferLeadership(ctx, to)
	}
	if t := m.term.Load(); t != nil {
		t.resign(errStepDown)
	}
	return nil
}

// StepDown implements the Cluster service.
func (s *service) StepDown(ctx context.Context, r *vzpb.StepDownRequest) (*vzpb.StepDownResponse, error) {
	st, _, err := s.fresh(ctx)
	if err != nil {
		return nil, err
	}
	infos := s.m.roll(ctx, st)
	if r.To != "" {
		i := slices.IndexFunc(infos, func(m cluster.MasterInfo) bool { return m.ID == r.To })
		switch {
		case s.m.members == nil:
			return nil, refuse("with --store etcd nobody chooses the next leader; leave --to out")
		case i < 0:
			return nil, notFound("master %q: unknown; 'master list' shows the masters", r.To)
		case !infos[i].Voter:
			return nil, refuse("master %s does not vote (yet), so it can't lead", r.To)
		case infos[i].State == nil:
			return nil, refuse("master %s does not answer: %s", r.To, infos[i].Error)
		}
	} else if _, err := successor(infos, []string{s.m.cfg.ID}); err != nil {
		return nil, err
	}
	// Who led is noted first: the same request again must not depose the successor.
	_, was, _, err := s.mutate(ctx, "StepDown", r, func(*store.Tx, time.Time) (string, error) { return s.m.cfg.ID, nil })
	if err != nil {
		return nil, err
	}
	out := &vzpb.StepDownResponse{Was: was}
	if was != s.m.cfg.ID || r.To == s.m.cfg.ID {
		return out, nil
	}
	if err := s.m.handOver(ctx, r.To); err != nil {
		return nil, status.Errorf(codes.Unavailable, "the leadership could not be handed over: %v; master %s still leads, try again", err, s.m.cfg.ID)
	}
	return out, nil
}
