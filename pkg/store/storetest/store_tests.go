package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
)

func testReadYourWrites(t *testing.T, r *rig) {
	lead := r.leader(0)
	for i := range 50 {
		id := fmt.Sprint(100 + i)
		st, err := lead.store.Update(r.ctx(), func(tx *store.Tx) error {
			if _, ok := tx.Containers().Get(id); ok {
				return errors.New("it is there already")
			}
			tx.Containers().Put(cluster.Container{CTID: id, Name: "c" + id})
			if c, ok := tx.ContainerByName("c" + id); !ok || c.CTID != id {
				return errors.New("the closure does not see its own write")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for name, s := range map[string]*store.State{"returned": st, "view": lead.store.View()} {
			if c, ok := s.ContainerByName("c" + id); !ok || c.CTID != id {
				t.Errorf("%s state %d lacks container %s", name, s.Rev(), id)
			}
		}
	}
}

func testWait(t *testing.T, r *rig) {
	const writes = 200
	lead := r.leader(0)
	var wg sync.WaitGroup
	for _, n := range append(r.followers(lead), lead) {
		wg.Go(func() {
			last, value := store.Rev(0), uint64(0)
			for value < writes {
				st, err := n.store.Wait(r.ctx(), last)
				if err != nil {
					t.Errorf("member %d: wait after %d (value %d): %v", n.i, last, value, err)
					return
				}
				c, _ := st.Counters().Get("w")
				if st.Rev() <= last || c.Value < value {
					t.Errorf("member %d: revision %d value %d after revision %d value %d", n.i, st.Rev(), c.Value, last, value)
					return
				}
				last, value = st.Rev(), c.Value
			}
		})
	}
	for range writes {
		if _, err := lead.store.Update(r.ctx(), func(tx *store.Tx) error { tx.Next("w"); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
}

func testFresh(t *testing.T, r *rig) {
	for i := range 5 {
		name := fmt.Sprint("t", i)
		r.update(func(tx *store.Tx) error {
			tx.Templates().Put(cluster.Template{Name: name})
			return nil
		})
		// The next leader may have applied less than was acknowledged by the last one; a fresh read must not show that.
		st, err := r.depose(r.leader(0)).store.Fresh(r.ctx())
		if errors.Is(err, store.ErrNotLeader) {
			continue // moved on once more: it did not answer, which is right
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := st.Templates().Get(name); !ok {
			t.Errorf("a fresh read at %d lacks %s, which was acknowledged before", st.Rev(), name)
		}
	}
}

func testIncrements(t *testing.T, r *rig) {
	const workers, each = 8, 25
	lead := r.leader(0)
	var mu sync.Mutex
	seen := make(map[uint64]bool)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				var got uint64
				if _, err := lead.store.Update(r.ctx(), func(tx *store.Tx) error { got = tx.Next("n"); return nil }); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if seen[got] {
					t.Errorf("%d was given out twice", got)
				}
				seen[got] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if c, _ := lead.store.View().Counters().Get("n"); c.Value != workers*each {
		t.Errorf("the counter is %d, want %d", c.Value, workers*each)
	}
}

// testPhantoms: each worker puts a container on the node only while all there together fit, which no single record tells; and takes
// a name only while it is free.
func testPhantoms(t *testing.T, r *rig) {
	const workers, room = 16, 5
	full := errors.New("no room")
	lead := r.leader(0)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for try := range 3 {
				_, err := lead.store.Update(r.ctx(), func(tx *store.Tx) error {
					used := 0
					for c := range tx.Containers().All() {
						if c.Node == "n1" {
							used++
						}
					}
					if used >= room {
						return full
					}
					tx.Containers().Put(cluster.Container{CTID: fmt.Sprint(100 + w*10 + try), Node: "n1"})
					return nil
				})
				if err != nil && !errors.Is(err, full) {
					t.Error(err)
				}
				_, err = lead.store.Update(r.ctx(), func(tx *store.Tx) error {
					if _, taken := tx.ContainerByName("web"); taken {
						return full
					}
					tx.Containers().Put(cluster.Container{CTID: fmt.Sprint(1000 + w*10 + try), Name: "web"})
					return nil
				})
				if err != nil && !errors.Is(err, full) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	on, named := 0, 0
	for c := range lead.store.View().Containers().All() {
		if c.Node == "n1" {
			on++
		}
		if c.Name == "web" {
			named++
		}
	}
	if on != room || named != 1 {
		t.Errorf("%d containers on a node with room for %d, %d containers with one name", on, room, named)
	}
}
