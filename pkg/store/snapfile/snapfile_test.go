package snapfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
)

func record(t *testing.T, v any) store.KV {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return store.KV{Value: b, Rev: 7}
}

func sample(t *testing.T) map[string]store.KV {
	return map[string]store.KV{
		store.MetaKey:              record(t, store.Meta{ClusterID: "c1", Format: store.Format, TermBase: 3}),
		"container/101":            record(t, cluster.Container{CTID: "101", Epoch: 4, Node: "n1"}),
		"counter/migration":        record(t, store.Counter{Name: "migration", Value: 9}),
		"counter/removed-master-x": record(t, store.Counter{Name: "removed-master-x", Value: 1}),
		"master/m1":                record(t, cluster.Master{ID: "m1"}),
		"guard/container":          {Value: []byte("{}"), Rev: 7},
		"future/kind":              {Value: []byte(`{"a":1}`), Rev: 7},
	}
}

func TestFileIsWhatWasWritten(t *testing.T) {
	data := sample(t)
	h := Header{ClusterID: "c1", Format: store.Format, Rev: 7, Term: 2, Taken: time.Unix(1, 0).UTC(), Master: "m1"}
	var file bytes.Buffer
	if err := Write(&file, h, data); err != nil {
		t.Fatal(err)
	}
	got, back, err := Read(bytes.NewReader(file.Bytes()))
	if err != nil || !reflect.DeepEqual(back, data) {
		t.Fatalf("read %v, %v", back, err)
	}
	if got.Rev != 7 || got.Term != 2 || got.Keys != len(data) || got.Master != "m1" {
		t.Errorf("header: %+v", got)
	}
}

// No damage goes unnoticed: a file that reads without an error holds what was written.
func TestDamageIsNoticed(t *testing.T) {
	data := sample(t)
	var file bytes.Buffer
	if err := Write(&file, Header{ClusterID: "c1", Format: store.Format}, data); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		b := bytes.Clone(file.Bytes())
		if at := rapid.IntRange(0, len(b)-1).Draw(t, "at"); rapid.Bool().Draw(t, "cut") {
			b = b[:at]
		} else {
			b[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		}
		if _, back, err := Read(bytes.NewReader(b)); err == nil && !reflect.DeepEqual(back, data) {
			t.Fatalf("read other data than was written: %v", back)
		}
	})
	for _, n := range []int{0, 1, file.Len() / 2, file.Len() - 1} {
		if _, _, err := Read(bytes.NewReader(file.Bytes()[:n])); err == nil {
			t.Errorf("cut off after %d of %d bytes: no error", n, file.Len())
		}
	}
	if _, _, err := Read(bytes.NewReader(append(bytes.Clone(file.Bytes()), file.Bytes()...))); !errors.Is(err, ErrDamaged) {
		t.Errorf("twice the file: %v", err)
	}
}

func TestReborn(t *testing.T) {
	data, err := Reborn(sample(t), 5)
	if err != nil {
		t.Fatal(err)
	}
	get := func(key string, v any) {
		t.Helper()
		if err := json.Unmarshal(data[key].Value, v); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
	}
	var c cluster.Container
	var n store.Counter
	var m store.Meta
	get("container/101", &c)
	get("counter/migration", &n)
	get(store.MetaKey, &m)
	if c.Epoch != 4+Jump || !c.Adopt || n.Value != 9+Jump {
		t.Errorf("container %+v, counter %+v", c, n)
	}
	if m.ClusterID == "c1" || m.TermBase != 3+5+Jump {
		t.Errorf("meta: %+v", m)
	}
	for _, key := range []string{"master/m1", "counter/removed-master-x"} {
		if _, ok := data[key]; ok {
			t.Errorf("%s: of the old cluster, and still there", key)
		}
	}
	if string(data["future/kind"].Value) != `{"a":1}` {
		t.Error("a kind that this binary does not know was changed")
	}
	unmoved := sample(t)
	delete(unmoved, "counter/migration")
	if data, err = Reborn(unmoved, 5); err != nil {
		t.Fatal(err)
	}
	get("counter/migration", &n)
	if n.Value != Jump {
		t.Errorf("the ids of migrations that came after the snapshot may be given again: %+v", n)
	}
	if _, err := Reborn(map[string]store.KV{}, 1); err == nil {
		t.Error("a state without a cluster was taken")
	}
}
