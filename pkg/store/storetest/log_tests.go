package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/vzcluster/vzcluster/pkg/store"
)

// The tests of this file use keys of a kind that the store does not know and leaves alone.

func key(format string, args ...any) string { return "test/" + fmt.Sprintf(format, args...) }

func put(pairs ...string) map[string][]byte {
	m := make(map[string][]byte)
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = []byte(pairs[i+1])
	}
	return m
}

// content collects what a member's log holds, by following it until rev.
func (r *rig) content(n *node, rev store.Rev) map[string]store.KV {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.ctx())
	defer cancel()
	got, reached := make(map[string]store.KV), store.Rev(0)
	err := n.log.Follow(ctx, func(b store.Batch) {
		if reached >= rev && reached > 0 {
			return
		}
		applyTo(got, b)
		if reached = b.Rev; reached >= rev {
			cancel()
		}
	})
	if err != nil || reached < rev {
		r.t.Fatalf("member %d: follow: revision %d of %d, %v", n.i, reached, rev, err)
	}
	maps.DeleteFunc(got, func(key string, _ store.KV) bool { return !strings.HasPrefix(key, "test/") })
	return got
}

func applyTo(m map[string]store.KV, b store.Batch) {
	if b.Reset {
		clear(m)
	}
	maps.Copy(m, b.Put)
	for _, key := range b.Del {
		delete(m, key)
	}
}

func equal(a, b map[string]store.KV) bool {
	return maps.EqualFunc(a, b, func(x, y store.KV) bool { return x.Rev == y.Rev && bytes.Equal(x.Value, y.Value) })
}

// commit must succeed.
func (r *rig) commit(n *node, t store.Txn) store.Rev {
	r.t.Helper()
	rev, err := n.log.Commit(r.ctx(), t)
	if err != nil {
		r.t.Fatalf("commit: %v", err)
	}
	return rev
}

func testCommit(t *testing.T, r *rig) {
	lead := r.leader(0)
	first := r.commit(lead, store.Txn{If: map[string]store.Rev{key("a"): 0}, Put: put(key("a"), "1", key("b"), "x/\x00\xff")})
	second := r.commit(lead, store.Txn{If: map[string]store.Rev{key("a"): first}, Put: put(key("a"), "2")})
	third := r.commit(lead, store.Txn{If: map[string]store.Rev{key("a"): second, key("c"): 0}, Put: put(key("c"), ""), Del: []string{key("a")}})
	if first == 0 || second <= first || third <= second {
		t.Errorf("revisions %d, %d, %d do not grow", first, second, third)
	}
	want := map[string]store.KV{
		key("b"): {Value: []byte("x/\x00\xff"), Rev: first},
		key("c"): {Value: []byte(""), Rev: third},
	}
	for _, n := range append(r.followers(lead), lead) {
		if got := r.content(n, third); !equal(got, want) {
			t.Errorf("member %d holds %v, want %v", n.i, got, want)
		}
	}
}

func testConflict(t *testing.T, r *rig) {
	lead := r.leader(0)
	first := r.commit(lead, store.Txn{Put: put(key("a"), "1")})
	second := r.commit(lead, store.Txn{Put: put(key("a"), "2")})
	for name, cond := range map[string]map[string]store.Rev{
		"exists":           {key("a"): 0},
		"older revision":   {key("a"): first},
		"future revision":  {key("a"): second + 1000},
		"does not exist":   {key("b"): second},
		"one of two wrong": {key("a"): second, key("b"): 7},
	} {
		rev, err := lead.log.Commit(r.ctx(), store.Txn{If: cond, Put: put(key("a"), "bad", key("b"), "bad")})
		if !errors.Is(err, store.ErrConflict) {
			t.Errorf("%s: got revision %d and %v, want ErrConflict", name, rev, err)
		}
		// What came with the conflict must be reachable for a follower without any further write.
		r.reach(lead, rev)
	}
	r.commit(lead, store.Txn{If: map[string]store.Rev{key("a"): second}, Del: []string{key("a")}})
	last := r.commit(lead, store.Txn{If: map[string]store.Rev{key("a"): 0}, Put: put(key("a"), "3")})
	if got := r.content(lead, last); len(got) != 1 || string(got[key("a")].Value) != "3" {
		t.Errorf("got %v, want only a=3", got)
	}
}

func testAtomic(t *testing.T, r *rig) {
	lead := r.leader(0)
	first := r.commit(lead, store.Txn{Put: put(key("a"), "1", key("b"), "1")})
	if _, err := lead.log.Commit(r.ctx(), store.Txn{
		If: map[string]store.Rev{key("a"): first, key("b"): first + 1}, Put: put(key("a"), "2", key("c"), "2"), Del: []string{key("b")},
	}); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("got %v, want ErrConflict", err)
	}
	last := r.commit(lead, store.Txn{Put: put(key("d"), "1")})
	for _, n := range append(r.followers(lead), lead) {
		got := r.content(n, last)
		want := map[string]store.KV{key("a"): {Value: []byte("1"), Rev: first}, key("b"): {Value: []byte("1"), Rev: first}, key("d"): {Value: []byte("1"), Rev: last}}
		if !equal(got, want) {
			t.Errorf("member %d holds %v after a refused transaction, want %v", n.i, got, want)
		}
	}
}

func testLimits(t *testing.T, r *rig) {
	lead := r.leader(0)
	many := func(n int) map[string][]byte {
		m := make(map[string][]byte)
		for i := range n {
			m[key("k%03d", i)] = []byte("v")
		}
		return m
	}
	absent := func(n int) map[string]store.Rev {
		m := make(map[string]store.Rev)
		for i := range n {
			m[key("none%03d", i)] = 0
		}
		return m
	}
	tests := []struct {
		name string
		txn  store.Txn
		want error
	}{
		{"as many writes and reads as allowed", store.Txn{If: absent(store.MaxTxnReads), Put: many(store.MaxTxnOps)}, nil},
		{"one write too many", store.Txn{Put: many(store.MaxTxnOps), Del: []string{key("x")}}, store.ErrTooLarge},
		{"one read too many", store.Txn{If: absent(store.MaxTxnReads + 1), Put: many(1)}, store.ErrTooLarge},
		{"a large value", store.Txn{Put: map[string][]byte{key("large"): bytes.Repeat([]byte{0xff}, store.MaxTxnBytes-1024)}}, nil},
		{"a value too large", store.Txn{Put: map[string][]byte{key("huge"): make([]byte, store.MaxTxnBytes)}}, store.ErrTooLarge},
		{"nothing", store.Txn{If: absent(1)}, store.ErrInvalid},
		{"put and deleted", store.Txn{Put: many(1), Del: []string{key("k000")}}, store.ErrInvalid},
		{"deleted twice", store.Txn{Del: []string{key("k"), key("k")}}, store.ErrInvalid},
		{"an empty key", store.Txn{Put: put("", "v")}, store.ErrInvalid},
		{"a key with a line end", store.Txn{Put: put(key("a\nb"), "v")}, store.ErrInvalid},
		{"a key that is not UTF-8", store.Txn{Put: put(key("\xff"), "v")}, store.ErrInvalid},
		{"a long key", store.Txn{If: map[string]store.Rev{strings.Repeat("k", store.MaxKeyBytes+1): 0}, Put: many(1)}, store.ErrInvalid},
	}
	for _, test := range tests {
		if _, err := lead.log.Commit(r.ctx(), test.txn); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
	}
	last := r.commit(lead, store.Txn{Put: put(key("last"), "v")})
	if got := r.content(lead, last); len(got) != store.MaxTxnOps+2 {
		t.Errorf("%d keys, want %d: a refused transaction left something", len(got), store.MaxTxnOps+2)
	}
}

func testFollow(t *testing.T, r *rig) {
	lead := r.leader(0)
	base := r.commit(lead, store.Txn{Put: put(key("n"), "0")})
	const writes = 200
	type seen struct {
		node *node
		got  map[string]store.KV
		errs []error
	}
	results := make(chan *seen, r.c.Members())
	ctx, cancel := context.WithCancel(r.ctx())
	defer cancel()
	for _, n := range append(r.followers(lead), lead) {
		go func() {
			s := &seen{node: n, got: make(map[string]store.KV)}
			last, first := store.Rev(0), true
			ctx, cancel := context.WithCancel(ctx)
			err := n.log.Follow(ctx, func(b store.Batch) {
				if first && !b.Reset {
					s.errs = append(s.errs, errors.New("the first batch is no image"))
				}
				if b.Rev < last || b.Rev == last && !b.Reset {
					s.errs = append(s.errs, fmt.Errorf("revision %d after %d", b.Rev, last))
				}
				applyTo(s.got, b)
				first, last = false, b.Rev
				if string(s.got[key("n")].Value) == fmt.Sprint(writes) {
					cancel()
				}
			})
			cancel()
			s.errs = append(s.errs, err)
			results <- s
		}()
	}
	rev := base
	for i := range writes {
		rev = r.commit(lead, store.Txn{If: map[string]store.Rev{key("n"): rev}, Put: put(key("n"), fmt.Sprint(i+1), key("k%d", i), "v")})
	}
	want := r.content(lead, rev)
	for range r.c.Members() {
		s := <-results
		maps.DeleteFunc(s.got, func(key string, _ store.KV) bool { return !strings.HasPrefix(key, "test/") })
		if err := errors.Join(s.errs...); err != nil || !equal(s.got, want) {
			t.Errorf("member %d: %d keys, want %d; %v", s.node.i, len(s.got), len(want), err)
		}
		// Whoever comes late gets it all at once.
		if got := r.content(s.node, rev); !equal(got, want) {
			t.Errorf("member %d, late: %d keys, want %d", s.node.i, len(got), len(want))
		}
	}
}
