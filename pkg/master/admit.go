package master

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

const (
	// aliveTimeout is how long a member that is said to run elsewhere may take to answer.
	aliveTimeout = time.Second
	admitTimeout = 3 * time.Second
)

// RefusedError says why a master may not take part with the data directory that it has. The process must end.
type RefusedError struct{ Text string }

func (e *RefusedError) Error() string { return e.Text }

// peaks is how far each data directory has come, as this master has seen it: what was applied is never taken back.
type peaks struct {
	mu sync.Mutex
	at map[string]peak // by instance
}

// peak is how far a directory has come in the start of it that was seen last, and in all before.
type peak struct{ starts, now, before uint64 }

func (p *peaks) note(infos []cluster.MasterInfo) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at == nil {
		p.at = map[string]peak{}
	}
	for _, i := range infos {
		if i.State == nil || i.State.Instance == "" {
			continue
		}
		was := p.at[i.State.Instance]
		if i.State.Starts > was.starts {
			was = peak{i.State.Starts, 0, max(was.now, was.before)}
		}
		if i.State.Starts == was.starts {
			was.now = max(was.now, i.State.Applied)
		}
		p.at[i.State.Instance] = was
	}
}

// of is how far a directory had come before the given start of it: a presence tells where its log ended then, and a member that is
// taken in while it runs may have come further since.
func (p *peaks) of(instance string, start uint64) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.at[instance]
	if start > seen.starts {
		return max(seen.now, seen.before)
	}
	return seen.before
}

// tables is what a judgement reads: a snapshot or a transaction.
type tables struct {
	meta     store.Meta
	masters  getter[cluster.Master]
	counters getter[store.Counter]
}

// refusal tells why a master with presence p may not take part, by what is known of it; empty: nothing is known against it. peak is how
// far its directory was seen to have come.
func refusal(p cluster.Presence, known tables, peak uint64) string {
	if known.meta.ClusterID == "" || p.Instance == "" {
		return ""
	}
	if p.ClusterID != "" && p.ClusterID != known.meta.ClusterID {
		return fmt.Sprintf("its data directory belongs to another cluster (%.8s, not %.8s): it was left behind by a recovery or a restore, or the address is wrong; "+
			"if this master is to join, start it with an empty data directory", p.ClusterID, known.meta.ClusterID)
	}
	if _, removed := known.counters.Get(removedCounter(p.Instance)); removed {
		return "it was removed from the cluster with this data directory; to take it in again, start it with an empty one"
	}
	rec, member := known.masters.Get(p.ID)
	switch {
	case !member || rec.Instance == "":
		return ""
	case rec.Instance != p.Instance && p.Empty:
		return fmt.Sprintf("the cluster has master %s as a member with another data directory, and this one is empty: what the member has acknowledged would be forgotten. "+
			"If its data is lost, 'vzctl-cluster master remove %s', then start it again", p.ID, p.ID)
	case rec.Instance != p.Instance:
		return fmt.Sprintf("the cluster has master %s as a member with another data directory than this one; give this one another --id, or remove the member first", p.ID)
	case p.Starts < rec.Starts || (p.Starts == rec.Starts && p.Nonce != rec.Nonce):
		return fmt.Sprintf("its data directory is a copy or an older state: it counts %d starts, the cluster has seen start %d of it. What it has acknowledged since is not in it. "+
			"'vzctl-cluster master remove %s', then start it with an empty data directory", p.Starts, rec.Starts, p.ID)
	case p.LastIndex < peak:
		return fmt.Sprintf("its data directory is an older state: its log ends at %d, and it had applied %d already. "+
			"'vzctl-cluster master remove %s', then start it with an empty data directory", p.LastIndex, peak, p.ID)
	}
	return ""
}

func snapshotTables(st *store.State) tables {
	meta, _ := st.Meta()
	return tables{meta, st.Masters(), st.Counters()}
}

// AdmitMaster implements the Cluster service, on every master.
func (s *service) AdmitMaster(ctx context.Context, r *vzpb.AdmitMasterRequest) (*vzpb.AdmitMasterResponse, error) {
	var p cluster.Presence
	if err := decodeRecord(r.PresenceJson, &p); err != nil {
		return nil, invalid("presence", "", err.Error(), "send cluster.Presence as JSON")
	}
	known := snapshotTables(s.m.store.View())
	out := &vzpb.AdmitMasterResponse{ClusterId: known.meta.ClusterID, Refusal: refusal(p, known, s.m.peaks.of(p.Instance, p.Starts))}
	if out.Refusal == "" {
		out.Refusal = s.m.twin(ctx, p, known)
	}
	if leader, ok := s.m.leaderToAsk(ctx, p); ok && out.Refusal != "" {
		// It may have been taken out just now, and this follower not have heard of it yet. Only a leader of the same cluster knows better.
		if r, err := s.m.askAdmit(s.m.outgoing(ctx), leader, p); err == nil && r.ClusterId == out.ClusterId {
			return r, nil
		}
	}
	if out.Refusal != "" {
		slog.Warn("master refused", "master", p.ID, "api", p.APIAddr, "starts", p.Starts, "why", out.Refusal)
	}
	return out, nil
}

// leaderToAsk is the leader's API, on a follower that was not asked by another one. It is never the one that is judged: the followers may
// still take a leader that has just lost its data for what it was.
func (m *Master) leaderToAsk(ctx context.Context, p cluster.Presence) (string, bool) {
	if md, ok := metadata.FromIncomingContext(ctx); ok && len(md.Get(hopKey)) > 0 {
		return "", false
	}
	addr, ok := m.store.Leader()
	return addr, ok && addr != "" && addr != m.cfg.Advertise && addr != p.APIAddr
}

// twin tells whether the member that p says to be runs at another address with the same data: then p's is a copy.
func (m *Master) twin(ctx context.Context, p cluster.Presence, known tables) string {
	rec, member := known.masters.Get(p.ID)
	if !member || p.Instance == "" || rec.Instance != p.Instance || rec.APIAddr == p.APIAddr || rec.Nonce == p.Nonce {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, aliveTimeout)
	defer cancel()
	st, err := m.stateOf(ctx, rec)
	if err != nil || st.Nonce == p.Nonce {
		return ""
	}
	return fmt.Sprintf("its data directory is a copy: master %s runs with the same one at %s. Start this one with an empty directory and another --id", p.ID, rec.APIAddr)
}

// Admit asks other masters whether this one may take part: those of the configuration, and peers. It is what raftlog.Config.Admit is
// for. there: a cluster exists that this master is not to found anew. Masters that don't answer can't object.
func (m *Master) Admit(ctx context.Context, p cluster.Presence, peers []string) (there bool, err error) {
	p.ID, p.RaftAddr, p.APIAddr = m.cfg.ID, m.cfg.RaftAdvertise, m.cfg.Advertise
	ctx, cancel := context.WithTimeout(ctx, admitTimeout)
	defer cancel()
	addrs := slices.Concat(m.cfg.Join, peers)
	slices.Sort(addrs)
	addrs = slices.DeleteFunc(slices.Compact(addrs), func(a string) bool { return a == m.cfg.Advertise })
	answers := make([]*vzpb.AdmitMasterResponse, len(addrs))
	var wg sync.WaitGroup
	for i, addr := range addrs {
		wg.Go(func() {
			r, err := m.askAdmit(ctx, addr, p)
			if err != nil {
				slog.Info("not asked for admission", "master", addr, "err", err)
				return
			}
			answers[i] = r
		})
	}
	wg.Wait()
	for i, r := range answers {
		switch {
		case r == nil:
		case r.Refusal != "":
			return true, &RefusedError{fmt.Sprintf("master %s may not take part, says %s: %s", p.ID, addrs[i], r.Refusal)}
		case r.ClusterId != "":
			there = true
		}
	}
	return there, nil
}

func (m *Master) askAdmit(ctx context.Context, addr string, p cluster.Presence) (*vzpb.AdmitMasterResponse, error) {
	conn, err := m.conns.get(addr)
	if err != nil {
		return nil, err
	}
	b, err := encode(p)
	if err != nil {
		return nil, err
	}
	return vzpb.NewClusterClient(conn).AdmitMaster(ctx, &vzpb.AdmitMasterRequest{PresenceJson: b})
}

// refused turns the leader's refusal into an error that ends the process; any other error is worth another try.
func refused(err error) error {
	if status.Code(err) == codes.PermissionDenied {
		return &RefusedError{status.Convert(err).Message()}
	}
	return nil
}

func decodeRecord(b []byte, v any) error {
	if len(b) > 64<<10 {
		return errors.New("larger than 64 KiB")
	}
	return json.Unmarshal(b, v)
}
