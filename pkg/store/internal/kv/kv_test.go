package kv

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"

	"github.com/vzcluster/vzcluster/pkg/store"
)

func equal(a, b map[string]store.KV) bool {
	return maps.EqualFunc(a, b, func(x, y store.KV) bool { return x.Rev == y.Rev && bytes.Equal(x.Value, y.Value) })
}

// A follower that stands still must cost the machine nothing, and must still end up with everything.
func TestSlowFollower(t *testing.T) {
	tests := []struct {
		name  string
		write func(m *Machine)
		reset bool
	}{
		{"a little behind", func(m *Machine) { write(t, m, 1, tailBatches, "v") }, false},
		{"too many batches behind", func(m *Machine) { write(t, m, 1, tailBatches+1, "v") }, true},
		{"too many bytes behind", func(m *Machine) { write(t, m, 1, 20, string(make([]byte, tailBytes/10))) }, true},
		{"a snapshot was installed", func(m *Machine) {
			m.Replace(500, map[string]store.KV{"a": {Value: []byte("x"), Rev: 7}})
			write(t, m, 501, 3, "v")
		}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := New()
				ctx, cancel := context.WithCancel(t.Context())
				released := make(chan struct{})
				got, resets, last := make(map[string]store.KV), 0, store.Rev(0)
				done := make(chan error)
				go func() {
					done <- m.Follow(ctx, func(b store.Batch) {
						<-released
						if b.Rev < last {
							t.Errorf("revision %d after %d", b.Rev, last)
						}
						last = b.Rev
						if b.Reset {
							resets++
							clear(got)
						}
						maps.Copy(got, b.Put)
						for _, key := range b.Del {
							delete(got, key)
						}
					}, nil)
				}()
				synctest.Wait() // it holds the first image in its hands
				test.write(m)
				if len(m.tail) > tailBatches || m.size > tailBytes && len(m.tail) > 1 {
					t.Errorf("the tail has %d batches and %d bytes", len(m.tail), m.size)
				}
				close(released)
				synctest.Wait()
				rev, want := m.Image()
				if last != rev || !equal(got, want) {
					t.Errorf("the follower has %d keys at %d, want %d at %d", len(got), last, len(want), rev)
				}
				if again := resets > 1; again != test.reset {
					t.Errorf("%d images, wanted another one: %v", resets, test.reset)
				}
				cancel()
				if err := <-done; err != nil {
					t.Errorf("follow: %v", err)
				}
			})
		})
	}
}

func write(t *testing.T, m *Machine, from store.Rev, n int, value string) {
	t.Helper()
	for i := range n {
		txn := store.Txn{Put: map[string][]byte{fmt.Sprint("k", i%10): []byte(value)}}
		if i%10 == 9 {
			txn = store.Txn{Del: []string{"k3"}}
		}
		if _, err := m.Apply(from+store.Rev(i), txn); err != nil {
			t.Fatal(err)
		}
	}
}
