package etcdlog

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vzcluster/vzcluster/pkg/store"
)

var _ store.Log = (*Log)(nil)

var (
	errStopped = errors.New("etcd: stopped")                       // Run has returned
	errLost    = errors.New("etcd: the lease or its key was lost") // the ends of a leadership
	errGaveUp  = errors.New("etcd: the leadership was given up")   //
)

// Log is one member. Its methods work until Run returns.
type Log struct {
	conf   Config
	log    *slog.Logger
	client *clientv3.Client
	keys   keys
	ctx    context.Context // ends when Run does
	end    context.CancelFunc

	cluster  atomic.Uint64         // etcd's id of itself, once it is known
	reign    atomic.Pointer[reign] // nil: this member does not lead
	leadLock sync.Mutex            // held by Lead
	known    atomic.Int64          // the newest commit that this member was told of
	followed atomic.Int64          // revision up to which the last batch was handed to a follower
	contact  atomic.Int64          // see Contact, in ns since 1970
	watches  atomic.Uint64         // how many were begun
	said     said

	mu         sync.Mutex
	candidates map[string]Candidate // by key
}

// New returns a member that connects to etcd by itself, now or later. It fails when conf is not sound. Unless Run is called it must
// be closed with Close.
func New(conf Config) (*Log, error) {
	if err := conf.check(); err != nil {
		return nil, err
	}
	client, err := conf.open()
	if err != nil {
		return nil, err
	}
	l := &Log{conf: conf, log: conf.Logger.With("master", conf.ID), client: client, keys: keysOf(conf.Prefix)}
	l.ctx, l.end = context.WithCancel(context.Background())
	return l, nil
}

// Close ends everything; Run calls it.
func (l *Log) Close() error {
	l.end()
	// Who leads gives the lease back first, so that the others need not wait for it.
	l.leadLock.Lock()
	defer l.leadLock.Unlock()
	return l.client.Close()
}

// Run keeps track of who leads until ctx ends, which is no error. It is called once. It fails when etcd's history is not the one
// that was followed so far; the process must end then.
func (l *Log) Run(ctx context.Context) error {
	var contact sync.WaitGroup
	asking, stop := context.WithCancel(ctx)
	contact.Go(func() { l.keepContact(asking) })
	defer contact.Wait()
	defer stop()
	err := l.tail(ctx, l.keys.election+"/", l.keys.election+"/", l.noteCandidates)
	return errors.Join(err, l.Close())
}

// noteCandidates keeps who stands for leader.
func (l *Log) noteCandidates(b store.Batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b.Reset || l.candidates == nil {
		l.candidates = make(map[string]Candidate)
	}
	for _, key := range b.Del {
		delete(l.candidates, key)
	}
	for key, kv := range b.Put {
		c, err := decodeCandidate(key, kv.Value, uint64(kv.Rev))
		if err != nil {
			l.log.Warn("not one of our masters stands for leader", "err", err)
		}
		l.candidates[key] = c
	}
}

// Candidates returns the masters that are connected to etcd, the leader first, as this one knows them.
func (l *Log) Candidates() []Candidate {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Candidate, 0, len(l.candidates))
	for _, c := range l.candidates {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Candidate) int { return cmp.Compare(a.Term, b.Term) })
	return all
}

// Leader implements [store.Log].
func (l *Log) Leader() (addr string, ok bool) {
	all := l.Candidates()
	if l.ctx.Err() != nil || len(all) == 0 || all[0].APIAddr == "" {
		return "", false
	}
	return all[0].APIAddr, true
}

// StepDown gives the leadership up; the next candidate leads. [store.ErrNotLeader]: this member does not lead.
func (l *Log) StepDown() error {
	lead := l.reign.Load()
	if lead == nil {
		return store.ErrNotLeader
	}
	lead.lost()
	return nil
}

// sameCluster tells whether etcd is the one of before; the first answer of all decides which that is.
func (l *Log) sameCluster(id uint64) bool {
	return l.cluster.CompareAndSwap(0, id) || l.cluster.Load() == id
}

// learn notes that rev is committed.
func (l *Log) learn(rev store.Rev) store.Rev {
	for {
		known := l.known.Load()
		if int64(rev) <= known || l.known.CompareAndSwap(known, int64(rev)) {
			return rev
		}
	}
}

// warn logs what is tried again and again, but not each time.
func (l *Log) warn(what string, err error) {
	if l.said.news(what, err.Error(), time.Now()) {
		l.log.Warn(what, "why", err)
	}
}

// said remembers what was logged.
type said struct {
	mu   sync.Mutex
	last map[string]remark
}

type remark struct {
	text string
	at   time.Time
}

// sayAgainAfter is how long the same is not logged twice.
const sayAgainAfter = 30 * time.Second

func (s *said) news(what, text string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if was := s.last[what]; was.text == text && now.Sub(was.at) < sayAgainAfter {
		return false
	}
	if s.last == nil {
		s.last = make(map[string]remark)
	}
	s.last[what] = remark{text, now}
	return true
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
