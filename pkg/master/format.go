package master

import (
	"context"
	"log/slog"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
)

// formatPeriod is how often the leader looks whether all masters know a newer format.
const formatPeriod = 2 * time.Second

// inForce is the format of the records.
func inForce(st *store.State) int {
	meta, _ := st.Meta()
	return meta.Format
}

// nextFormat is the format that is to be in force: the newest that every master knows. One that does not answer may be of any age,
// and a format is never lowered.
func nextFormat(have int, infos []cluster.MasterInfo) int {
	if len(infos) == 0 {
		return have
	}
	next := store.Format
	for _, info := range infos {
		if info.State == nil {
			return have
		}
		next = min(next, info.State.Format)
	}
	return max(next, have)
}

// keepFormat raises the format of the records when the last master of an older release is gone.
func (t *term) keepFormat(ctx context.Context) error {
	for {
		if err := await(ctx, nil, time.Now().Add(formatPeriod), time.Now()); err != nil {
			return err
		}
		st := t.m.store.View()
		if inForce(st) >= store.Format {
			continue
		}
		next := nextFormat(inForce(st), t.m.roll(ctx, st))
		if next == inForce(st) {
			continue
		}
		if _, err := t.m.store.Update(ctx, func(tx *store.Tx) error {
			meta := tx.Meta()
			meta.Format = max(meta.Format, next)
			tx.SetMeta(meta)
			return nil
		}); err != nil {
			slog.Warn("format not raised yet", "format", next, "err", err)
			continue
		}
		slog.Info("all masters know it: format raised", "format", next)
	}
}
