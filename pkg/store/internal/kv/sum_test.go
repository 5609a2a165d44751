package kv

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/vzcluster/vzcluster/pkg/store"
)

// However a state came about, in steps or as an image, its sum is the same; and any difference shows.
func TestSumIsThatOfTheState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New()
		for rev := store.Rev(1); rev < 20; rev++ {
			txn := store.Txn{Put: map[string][]byte{}}
			for range rapid.IntRange(0, 3).Draw(t, "puts") {
				txn.Put[fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "key"))] = rapid.SliceOf(rapid.Byte()).Draw(t, "value")
			}
			if key := fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "deleted")); txn.Put[key] == nil {
				txn.Del = append(txn.Del, key)
			}
			if rapid.Bool().Draw(t, "refused") {
				txn.If = map[string]store.Rev{"nothing": 7}
			}
			_, _ = m.Apply(rev, txn) // a refusal changes nothing
		}
		other := New()
		rev, data := m.Image()
		other.Replace(rev, data)
		if m.Sum() != other.Sum() {
			t.Fatalf("in steps %x, as an image %x", m.Sum(), other.Sum())
		}
		for key, kv := range data {
			for what, wrong := range map[string]store.KV{
				"a value":    {Value: append([]byte("x"), kv.Value...), Rev: kv.Rev},
				"a revision": {Value: kv.Value, Rev: kv.Rev + 1},
			} {
				_, image := m.Image()
				image[key] = wrong
				other.Replace(rev, image)
				if other.Sum() == m.Sum() {
					t.Fatalf("%s of %s differs, the sum does not", what, key)
				}
			}
			_, image := m.Image()
			delete(image, key)
			other.Replace(rev, image)
			if other.Sum() == m.Sum() {
				t.Fatalf("%s is missing, the sum is the same", key)
			}
		}
	})
}
