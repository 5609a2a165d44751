package snapfile

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
)

// Jump is added to every epoch, id counter and to the terms: far more than a cluster can have counted on from the snapshot.
const Jump = 1_000_000

// Count is how many records of each kind there are.
func Count(data map[string]store.KV) map[string]int {
	n := map[string]int{}
	for key := range data {
		if kind, _, _ := strings.Cut(key, "/"); kind != "guard" && kind != "meta" {
			n[kind]++
		}
	}
	return n
}

// Reborn returns data as a new cluster begins with it; term is the highest that its old one is known to have had. The masters' records
// stay behind: each master enters itself again.
func Reborn(data map[string]store.KV, term uint64) (map[string]store.KV, error) {
	out := make(map[string]store.KV, len(data))
	for key, kv := range data {
		value, keep, err := reborn(key, kv.Value, term)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		if keep {
			out[key] = store.KV{Value: value, Rev: kv.Rev}
		}
	}
	if _, ok := out[store.MetaKey]; !ok {
		return nil, errors.New("it holds no cluster: none was ever founded there")
	}
	// Nobody had been moved yet when the snapshot was taken; since then the nodes may have seen the first ids.
	key := store.CounterKey(store.MigrationCounter)
	if _, ok := out[key]; !ok {
		value, err := json.Marshal(store.Counter{Name: store.MigrationCounter, Value: Jump})
		if err != nil {
			return nil, err
		}
		out[key] = store.KV{Value: value, Rev: out[store.MetaKey].Rev}
	}
	return out, nil
}

func reborn(key string, value []byte, term uint64) (_ []byte, keep bool, err error) {
	switch kind, id, _ := strings.Cut(key, "/"); kind {
	case "master":
		return nil, false, nil
	case "counter":
		if strings.HasPrefix(id, "removed-master-") {
			return nil, false, nil // of the old cluster, to which nobody belongs any more
		}
		return edit(value, func(c *store.Counter) error { c.Value += Jump; return nil })
	case "container":
		return edit(value, func(c *cluster.Container) error {
			c.Epoch += Jump
			c.Adopt = true
			return nil
		})
	case "meta":
		return edit(value, func(m *store.Meta) error {
			if m.Format > store.Format {
				return &store.FormatError{Have: m.Format, Know: store.Format}
			}
			var id [16]byte
			if _, err := rand.Read(id[:]); err != nil {
				return err
			}
			m.ClusterID = hex.EncodeToString(id[:])
			m.TermBase += term + Jump
			return nil
		})
	}
	return value, true, nil
}

func edit[T any](value []byte, change func(*T) error) ([]byte, bool, error) {
	var v T
	if err := json.Unmarshal(value, &v); err != nil {
		return nil, false, err
	}
	if err := change(&v); err != nil {
		return nil, false, err
	}
	b, err := json.Marshal(v)
	return b, true, err
}
