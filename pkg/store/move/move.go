package move

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/pkg/store/etcdlog"
	"github.com/vzcluster/vzcluster/pkg/store/raftlog"
)

// RefusedError says why a state can't be moved as it is. Nothing was changed.
type RefusedError struct{ Why string }

func (e *RefusedError) Error() string { return e.Why }

func refused(format string, args ...any) error { return &RefusedError{fmt.Sprintf(format, args...)} }

// Result is what a move has done.
type Result struct {
	From      string         `json:"from"`
	To        string         `json:"to"`
	ClusterID string         `json:"cluster_id"`
	Records   map[string]int `json:"records"` // by kind
}

// ToEtcd moves the newest of the given data directories into an etcd without a cluster. Unless force is given the directories must be
// those of a majority of the voters: others may hold writes that were acknowledged and that these don't know.
func ToEtcd(ctx context.Context, dirs []string, to etcdlog.Access, force bool, logger *slog.Logger) (Result, error) {
	sources, err := openAll(dirs, logger)
	defer closeAll(sources)
	if err != nil {
		return Result{}, err
	}
	best, err := newest(sources, force)
	if err != nil {
		return Result{}, err
	}
	data, result, err := Moved(best.Data, best.Term)
	if err != nil {
		return Result{}, err
	}
	target, err := etcdlog.OpenOffline(to)
	if err != nil {
		return Result{}, err
	}
	defer target.Close()
	result.From, result.To = "raft:"+best.Dir, "etcd:"+target.Prefix()
	why := fmt.Sprintf("the state of this cluster was moved to etcd, below %s: start the masters with --store etcd", target.Prefix())
	err = target.Import(ctx, data, func() error {
		for _, s := range sources {
			if err := s.Retire(why); err != nil {
				return fmt.Errorf("retire %s: %w", s.Dir, err)
			}
		}
		return nil
	})
	return result, err
}

// ToRaft moves what is in an etcd into the data directory of a new cluster, whose one voter is the master id at raftAddr.
func ToRaft(ctx context.Context, from etcdlog.Access, dir, id, raftAddr string, logger *slog.Logger) (_ Result, err error) {
	source, err := etcdlog.OpenOffline(from)
	if err != nil {
		return Result{}, err
	}
	defer source.Close()
	why := fmt.Sprintf("the state of this cluster was moved to the masters themselves, first to %s: start them with --store raft", id)
	if err := source.Hold(ctx, why); err != nil {
		return Result{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, source.Release(ctx))
		}
	}()
	rev, all, err := source.Read(ctx)
	if err != nil {
		return Result{}, err
	}
	data, result, err := Moved(all, uint64(rev))
	if err != nil {
		return Result{}, err
	}
	result.From, result.To = "etcd:"+source.Prefix(), "raft:"+dir
	// The revisions stay: the new log goes on behind them. What was changed on the way counts as written last.
	image := make(map[string]store.KV, len(data))
	for key, value := range data {
		image[key] = store.KV{Value: value, Rev: min(all[key].Rev, rev)}
	}
	return result, raftlog.Seed(dir, id, raftAddr, rev, image, logger)
}

// Moved returns data as it has to be in another log: without the masters' records, and with terms above term, the highest of the log
// that it comes from. It fails if that was written by a newer binary or is no cluster's.
func Moved(data map[string]store.KV, term uint64) (map[string][]byte, Result, error) {
	out := make(map[string][]byte, len(data))
	result := Result{Records: make(map[string]int)}
	for key, kv := range data {
		kind, _, _ := strings.Cut(key, "/")
		if kind == "master" {
			continue
		}
		out[key] = kv.Value
		if kind != "guard" && kind != "meta" {
			result.Records[kind]++
		}
	}
	value, ok := out[store.MetaKey]
	if !ok {
		return nil, result, refused("the source holds no cluster: none was ever founded there")
	}
	var meta store.Meta
	if err := json.Unmarshal(value, &meta); err != nil || meta.Format > store.Format {
		return nil, result, refused("the records have format %d, this binary knows up to %d: use a newer one", meta.Format, store.Format)
	}
	meta.TermBase += term
	value, err := json.Marshal(meta)
	if err != nil {
		return nil, result, err
	}
	out[store.MetaKey] = value
	result.ClusterID = meta.ClusterID
	return out, result, nil
}

func openAll(dirs []string, logger *slog.Logger) (all []*raftlog.Offline, err error) {
	for _, dir := range dirs {
		o, err := raftlog.OpenOffline(dir, logger)
		if err != nil {
			return all, refused("%v", err)
		}
		all = append(all, o)
	}
	return all, nil
}

func closeAll(all []*raftlog.Offline) {
	for _, o := range all {
		_ = o.Close() // nothing was written that could be lost
	}
}

// newest chooses the member that knows everything that was acknowledged.
func newest(all []*raftlog.Offline, force bool) (*raftlog.Offline, error) {
	if len(all) == 0 {
		return nil, refused("no data directory given")
	}
	best := slices.MaxFunc(all, func(a, b *raftlog.Offline) int {
		return cmp.Or(cmp.Compare(a.LastTerm, b.LastTerm), cmp.Compare(a.LastIndex, b.LastIndex))
	})
	have := make(map[string]string)
	for _, o := range all {
		if twin, twice := have[o.ID]; twice {
			return nil, refused("%s and %s both belong to the master %s: give one directory of each master", twin, o.Dir, o.ID)
		}
		have[o.ID] = o.Dir
	}
	votes := 0
	for _, id := range best.Voters {
		if _, ok := have[id]; ok {
			votes++
		}
	}
	if need := len(best.Voters)/2 + 1; votes < need && !force {
		return nil, refused("the directories of %d of the %d voting masters (%s) are given, and %d are needed to be sure that nothing acknowledged is missing; give more of them (copies will do), or use --force to lose what only the others know",
			votes, len(best.Voters), strings.Join(best.Voters, ", "), need)
	}
	return best, nil
}
