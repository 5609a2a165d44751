package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/pkg/store/memlog"
)

// withStore runs f on the store of the only, leading member of an in-memory log, in virtual time.
func withStore(t *testing.T, f func(t *testing.T, c *memlog.Cluster, s *store.Store)) {
	synctest.Test(t, func(t *testing.T) {
		c := memlog.New(1)
		s := store.New(c.Member(0))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 2)
		led := make(chan struct{})
		go func() { done <- s.Run(ctx) }()
		go func() {
			done <- s.Lead(ctx, func(ctx context.Context, _ uint64) error {
				close(led)
				<-ctx.Done()
				return nil
			})
		}()
		<-led
		f(t, c, s)
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("the store ended: %v", err)
			}
		}
	})
}

func TestUpdateOutcomes(t *testing.T) {
	own := errors.New("the closure's own")
	many := func(f memlog.Fault, n int) []memlog.Fault {
		faults := make([]memlog.Fault, n)
		for i := range faults {
			faults[i] = f
		}
		return faults
	}
	tests := []struct {
		name    string
		faults  []memlog.Fault
		closure error // what it returns
		want    error
		runs    int  // of the closure
		written bool // in the end
	}{
		{"no fault", nil, nil, nil, 1, true},
		{"some conflicts", many(memlog.Conflict, 5), nil, nil, 6, true},
		{"conflicts for ever", many(memlog.Conflict, 100), nil, store.ErrConflict, 12, false},
		{"not the leader", many(memlog.NotLeader, 1), nil, store.ErrNotLeader, 1, false},
		{"unknown, and lost", many(memlog.UnknownLost, 1), nil, store.ErrUnknown, 1, false},
		{"unknown, and done", many(memlog.UnknownDone, 1), nil, store.ErrUnknown, 1, true},
		{"the closure fails", nil, own, own, 1, false},
		{"the closure sees a conflict of its own", nil, fmt.Errorf("taken: %w", store.ErrConflict), store.ErrConflict, 1, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			withStore(t, func(t *testing.T, c *memlog.Cluster, s *store.Store) {
				c.Inject(0, test.faults...)
				runs := 0
				st, err := s.Update(t.Context(), func(tx *store.Tx) error {
					runs++
					tx.Templates().Put(cluster.Template{Name: "t"})
					return test.closure
				})
				if !errors.Is(err, test.want) || (st != nil) != (err == nil) {
					t.Errorf("got %v and %v, want %v", st, err, test.want)
				}
				if runs != test.runs {
					t.Errorf("the closure ran %d times, want %d", runs, test.runs)
				}
				synctest.Wait()
				if _, written := s.View().Templates().Get("t"); written != test.written {
					t.Errorf("written: %v, want %v", written, test.written)
				}
			})
		})
	}
}

func TestUpdateProposesOnlyChanges(t *testing.T) {
	withStore(t, func(t *testing.T, c *memlog.Cluster, s *store.Store) {
		node := cluster.Node{Name: "n1", Created: time.Now(), Info: cluster.NodeInfo{Features: cluster.Features{CPUFlags: []string{"a"}}}}
		if _, err := s.Update(t.Context(), func(tx *store.Tx) error { tx.Nodes().Put(node); return nil }); err != nil {
			t.Fatal(err)
		}
		c.SetHook(func(_ int, txn store.Txn) memlog.Fault {
			t.Errorf("proposed: %v", txn)
			return memlog.None
		})
		_, err := s.Update(t.Context(), func(tx *store.Tx) error {
			n, _ := tx.Nodes().Get("n1")
			tx.Nodes().Put(n)
			tx.Nodes().Delete("n2")
			tx.SetMeta(tx.Meta())
			for range tx.Containers().All() {
				t.Error("there is no container")
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestTxSeesItself(t *testing.T) {
	withStore(t, func(t *testing.T, _ *memlog.Cluster, s *store.Store) {
		put := func(tx *store.Tx, ctid, name string) {
			tx.Containers().Put(cluster.Container{CTID: ctid, Name: name})
		}
		if _, err := s.Update(t.Context(), func(tx *store.Tx) error { put(tx, "101", "a"); put(tx, "102", "b"); return nil }); err != nil {
			t.Fatal(err)
		}
		_, err := s.Update(t.Context(), func(tx *store.Tx) error {
			put(tx, "100", "")
			put(tx, "101", "renamed")
			tx.Containers().Delete("102")
			put(tx, "103", "b")
			var ids []string
			for c := range tx.Containers().All() {
				ids = append(ids, c.CTID+c.Name)
				put(tx, "999", "") // what is written in the loop does not come up in it
			}
			if got, want := fmt.Sprint(ids), "[100 101renamed 103b]"; got != want {
				return fmt.Errorf("got %s, want %s", got, want)
			}
			if _, ok := tx.ContainerByName("a"); ok {
				return errors.New("the old name is still there")
			}
			if c, ok := tx.FindContainer("b"); !ok || c.CTID != "103" {
				return fmt.Errorf("b is %q", c.CTID)
			}
			if _, ok := tx.Containers().Get("102"); ok {
				return errors.New("102 is still there")
			}
			if _, ok := tx.State().Containers().Get("102"); !ok {
				return errors.New("the snapshot below was changed")
			}
			if a, b := tx.Next("n"), tx.Next("n"); a != 1 || b != 2 {
				return fmt.Errorf("the counter gave %d and %d", a, b)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := s.View().Containers().Len(); n != 4 {
			t.Errorf("%d containers, want 4", n)
		}
	})
}

func TestUpdateLimits(t *testing.T) {
	withStore(t, func(t *testing.T, _ *memlog.Cluster, s *store.Store) {
		get := func(n int) func(tx *store.Tx) {
			return func(tx *store.Tx) {
				for i := range n {
					tx.Nodes().Get(fmt.Sprint("n", i))
				}
			}
		}
		put := func(tx *store.Tx, n int) {
			for i := range n {
				tx.Templates().Put(cluster.Template{Name: fmt.Sprint("t", i), Created: time.Now()})
			}
		}
		tests := []struct {
			name string
			read func(tx *store.Tx)
			puts int
			want error
		}{
			{"as many reads as fit", get(store.MaxTxnReads - 1), 1, nil},
			{"one read too many", get(store.MaxTxnReads), 1, store.ErrTooLarge},
			{"any number of reads beside a range of the kind", func(tx *store.Tx) {
				get(1000)(tx)
				for range tx.Nodes().All() {
				}
			}, 1, nil},
			{"as many writes as fit", func(*store.Tx) {}, store.MaxTxnOps - 1, nil},
			{"one write too many", func(*store.Tx) {}, store.MaxTxnOps, store.ErrTooLarge},
			{"an empty id", func(tx *store.Tx) { tx.Nodes().Put(cluster.Node{}) }, 1, store.ErrInvalid},
			{"a long id", func(tx *store.Tx) { tx.Nodes().Put(cluster.Node{Name: string(make([]byte, 600))}) }, 1, store.ErrInvalid},
		}
		for _, test := range tests {
			before := s.View().Rev()
			_, err := s.Update(t.Context(), func(tx *store.Tx) error {
				test.read(tx)
				put(tx, test.puts)
				return nil
			})
			if !errors.Is(err, test.want) {
				t.Errorf("%s: got %v, want %v", test.name, err, test.want)
			}
			if wrote := s.View().Rev() != before; wrote != (test.want == nil) {
				t.Errorf("%s: written: %v", test.name, wrote)
			}
			time.Sleep(time.Second) // so that the next put is a change
		}
	})
}

// A read of a whole kind must be refused when anything of that kind was made, changed, or deleted meanwhile, and only then.
func TestRangeReadConflicts(t *testing.T) {
	all := func(tx *store.Tx) {
		for range tx.Containers().All() {
		}
	}
	name := func(tx *store.Tx) { tx.ContainerByName("web") }
	tests := []struct {
		name      string
		read      func(tx *store.Tx)
		meanwhile func(tx *store.Tx)
		again     bool
	}{
		{"created", all, func(tx *store.Tx) { tx.Containers().Put(cluster.Container{CTID: "300"}) }, true},
		{"changed", all, func(tx *store.Tx) { tx.Containers().Put(cluster.Container{CTID: "101", Node: "n2"}) }, true},
		{"deleted", all, func(tx *store.Tx) { tx.Containers().Delete("101") }, true},
		{"another kind", all, func(tx *store.Tx) { tx.Nodes().Put(cluster.Node{Name: "n1"}) }, false},
		{"a free name taken", name, func(tx *store.Tx) { tx.Containers().Put(cluster.Container{CTID: "300", Name: "web"}) }, true},
		{"a name beside another kind", name, func(tx *store.Tx) { tx.Nodes().Put(cluster.Node{Name: "web"}) }, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			withStore(t, func(t *testing.T, _ *memlog.Cluster, s *store.Store) {
				update := func(f func(tx *store.Tx)) {
					if _, err := s.Update(t.Context(), func(tx *store.Tx) error { f(tx); return nil }); err != nil {
						t.Fatal(err)
					}
				}
				update(func(tx *store.Tx) { tx.Containers().Put(cluster.Container{CTID: "101", Node: "n1"}) })
				runs := 0
				update(func(tx *store.Tx) {
					test.read(tx)
					if runs++; runs == 1 {
						update(test.meanwhile)
					}
					tx.Templates().Put(cluster.Template{Name: "t"})
				})
				if again := runs > 1; again != test.again {
					t.Errorf("the closure ran %d times", runs)
				}
			})
		})
	}
}

func TestNewerFormatStopsTheStore(t *testing.T) {
	withStoreError(t, func(c *memlog.Cluster, s *store.Store) {
		value, _ := json.Marshal(store.Meta{Format: store.Format + 1})
		if _, err := c.Member(0).Commit(t.Context(), store.Txn{Put: map[string][]byte{"meta/cluster": value}}); err != nil {
			t.Fatal(err)
		}
	})
}

func withStoreError(t *testing.T, f func(c *memlog.Cluster, s *store.Store)) {
	synctest.Test(t, func(t *testing.T) {
		c := memlog.New(1)
		s := store.New(c.Member(0))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ran, led := make(chan error, 1), make(chan error, 1)
		tries := 0
		go func() { ran <- s.Run(ctx) }()
		go func() {
			led <- s.Lead(ctx, func(ctx context.Context, _ uint64) error {
				tries++
				<-ctx.Done()
				return nil
			})
		}()
		synctest.Wait()
		f(c, s)
		var format *store.FormatError
		if err := <-ran; !errors.As(err, &format) {
			t.Errorf("run: got %v, want a FormatError", err)
		}
		if _, err := s.Wait(ctx, 1000); !errors.Is(err, store.ErrStopped) {
			t.Errorf("wait: got %v, want ErrStopped", err)
		}
		// A new leadership of this binary must not begin.
		c.Halt()
		c.Elect(0)
		time.Sleep(10 * time.Second)
		if tries != 1 {
			t.Errorf("it led %d times, want only once before the new format", tries)
		}
		cancel()
		<-led
	})
}

// deafLog commits, but its follower never hears of it.
type deafLog struct{ *memlog.Member }

func (deafLog) Follow(ctx context.Context, apply func(store.Batch)) error {
	apply(store.Batch{Reset: true})
	<-ctx.Done()
	return nil
}

func TestUpdateWithoutTheMirrorIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := memlog.New(1)
		s := store.New(deafLog{c.Member(0)})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go s.Run(ctx)
		go c.Member(0).Lead(ctx, func(ctx context.Context, _ uint64) error { <-ctx.Done(); return nil })
		synctest.Wait()
		limited, stop := context.WithTimeout(ctx, time.Second)
		defer stop()
		_, err := s.Update(limited, func(tx *store.Tx) error { tx.Next("n"); return nil })
		if !errors.Is(err, store.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want ErrUnknown for a deadline", err)
		}
	})
}

// Without the first image everything would look as if it did not exist.
func TestUpdateWaitsForTheFirstImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := memlog.New(1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go c.Member(0).Lead(ctx, func(ctx context.Context, _ uint64) error { <-ctx.Done(); return nil })
		synctest.Wait()
		if _, err := c.Member(0).Commit(ctx, store.Txn{Put: map[string][]byte{"template/t": []byte(`{"name":"t"}`)}}); err != nil {
			t.Fatal(err)
		}
		s := store.New(c.Member(0))
		done := make(chan error)
		go func() {
			_, err := s.Update(ctx, func(tx *store.Tx) error {
				if _, ok := tx.Templates().Get("t"); !ok {
					return errors.New("the closure saw a store without its records")
				}
				return nil
			})
			done <- err
		}()
		time.Sleep(time.Minute)
		go s.Run(ctx)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A range read must come through although somebody writes to the range whenever it looks.
func TestUpdateIsNotStarved(t *testing.T) {
	withStore(t, func(t *testing.T, _ *memlog.Cluster, s *store.Store) {
		_, err := s.Update(t.Context(), func(tx *store.Tx) error {
			for range tx.Containers().All() {
			}
			done := make(chan error, 1)
			go func() {
				_, err := s.Update(t.Context(), func(tx *store.Tx) error {
					tx.Containers().Put(cluster.Container{CTID: fmt.Sprint(tx.Next("ctid"))})
					return nil
				})
				done <- err
			}()
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(time.Second): // it has to wait for us now
			}
			tx.Templates().Put(cluster.Template{Name: "t"})
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		synctest.Wait()
	})
}
