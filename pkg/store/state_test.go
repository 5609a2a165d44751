package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// fill gives every field below v a value, so that every slice has something that could be shared.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), n)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.String:
		v.SetString(fmt.Sprint("s", *n))
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Bool:
		v.SetBool(true)
	default:
		panic("a record has a field of the kind " + v.Kind().String() + ": teach its clone function and this test")
	}
}

// scribble changes everything that can be reached through slices.
func scribble(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				scribble(v.Field(i))
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			v.Index(i).SetZero()
		}
	}
}

func testHandOut[T any](t *testing.T, k *kind[T], table func(*State) Table[T], txTable func(*Tx) *TxTable[T]) {
	t.Run(k.name, func(t *testing.T) {
		var want T
		n := 0
		fill(reflect.ValueOf(&want).Elem(), &n)
		id := k.id(&want)
		value, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		s, err := newState().apply(Batch{Rev: 1, Reset: true, Put: map[string]KV{k.key(id): {value, 1}}})
		if err != nil {
			t.Fatal(err)
		}
		// Dates come back in another form; from here on only what the snapshot hands out counts.
		want, _ = table(s).Get(id)
		check := func(how string, got T) {
			t.Helper()
			if now, _ := json.Marshal(got); string(now) != string(value) {
				t.Errorf("%s: got %s, want %s", how, now, value)
			}
			scribble(reflect.ValueOf(&got).Elem())
			after, ok := table(s).Get(id)
			if now, _ := json.Marshal(after); !ok || string(now) != string(value) {
				t.Errorf("%s: whoever read the record could change the snapshot: %s", how, now)
			}
		}
		check("get", want)
		for v := range table(s).All() {
			check("all", v)
		}
		if txTable == nil {
			return
		}
		tx := newTx(s)
		v, _ := txTable(tx).Get(id)
		check("tx get", v)
		for v := range txTable(tx).All() {
			check("tx all", v)
		}
		v, _ = txTable(tx).Get(id)
		txTable(tx).Put(v)
		scribble(reflect.ValueOf(&v).Elem())
		if txn, changed, err := tx.txn(); changed || err != nil {
			t.Errorf("the transaction took what was changed after Put: %v, %v", txn, err)
		}
	})
}

func TestWhatIsHandedOutIsACopy(t *testing.T) {
	testHandOut(t, &containerKind, (*State).Containers, (*Tx).Containers)
	testHandOut(t, &nodeKind, (*State).Nodes, (*Tx).Nodes)
	testHandOut(t, &migrationKind, (*State).Migrations, (*Tx).Migrations)
	testHandOut(t, &templateKind, (*State).Templates, (*Tx).Templates)
	testHandOut(t, &operationKind, (*State).Operations, (*Tx).Operations)
	testHandOut(t, &masterKind, (*State).Masters, (*Tx).Masters)
	testHandOut(t, &counterKind, (*State).Counters, nil)
}

// Whatever batches and images come, the snapshot is what a plain map would hold, older snapshots stay as they were, and a record is
// decoded once per revision.
func TestStateFollowsBatches(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newState()
		model := make(map[string]KV)
		for rev := Rev(1); rev <= Rev(rapid.IntRange(1, 20).Draw(rt, "batches")); rev++ {
			before, old := s, render(s)
			b := Batch{Rev: rev, Put: make(map[string]KV)}
			for _, id := range rapid.SliceOfNDistinct(rapid.IntRange(1, 6), 0, 4, rapid.ID).Draw(rt, "ids") {
				key := containerKind.key(fmt.Sprint(id))
				if _, ok := model[key]; ok && rapid.Bool().Draw(rt, "delete") {
					b.Del = append(b.Del, key)
					delete(model, key)
					continue
				}
				name := rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(rt, "name")
				value, _ := json.Marshal(cluster.Container{CTID: fmt.Sprint(id), Name: name})
				model[key] = KV{value, rev}
				b.Put[key] = model[key]
			}
			if rapid.Bool().Draw(rt, "reset") {
				b = Batch{Rev: rev, Reset: true, Put: maps.Clone(model)}
			}
			var err error
			if s, err = s.apply(b); err != nil {
				rt.Fatal(err)
			}
			if now := render(before); now != old {
				rt.Fatalf("the old snapshot was changed:\n%s\n%s", old, now)
			}
			compare(rt, s, model)
			for r := range s.containers.rows.all() {
				if was := before.containers.find(r.id); was != nil && was.rev == r.rev && was != r {
					rt.Fatalf("%s was decoded again at revision %d", r.id, rev)
				}
			}
		}
	})
}

func render(s *State) string {
	var b strings.Builder
	for c, rev := range s.Containers().All() {
		fmt.Fprintln(&b, c.CTID, c.Name, rev)
	}
	return b.String() + fmt.Sprint(s.rev, s.names, s.guards)
}

func compare(rt *rapid.T, s *State, model map[string]KV) {
	names := make(map[string][]string)
	var ids []string
	for _, kv := range model {
		var c cluster.Container
		if err := json.Unmarshal(kv.Value, &c); err != nil {
			rt.Fatal(err)
		}
		ids = append(ids, c.CTID)
		names[c.Name] = append(names[c.Name], c.CTID)
		got, ok := s.Containers().Get(c.CTID)
		if !ok || got.Name != c.Name || s.Containers().Rev(c.CTID) != kv.Rev {
			rt.Fatalf("container %s: got %q at %d, want %q at %d", c.CTID, got.Name, s.Containers().Rev(c.CTID), c.Name, kv.Rev)
		}
	}
	slices.Sort(ids)
	var order []string
	for c := range s.Containers().All() {
		order = append(order, c.CTID)
	}
	if !slices.Equal(order, ids) {
		rt.Fatalf("iteration gives %v, want %v", order, ids)
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		c, ok := s.ContainerByName(name)
		if want := names[name]; ok != (len(want) > 0) || ok && !slices.Contains(want, c.CTID) {
			rt.Fatalf("name %q: got %q (%v), want one of %v", name, c.CTID, ok, want)
		}
	}
	if _, ok := s.ContainerByName(""); ok {
		rt.Fatal("a container without a name was found by it")
	}
}

func TestApplyRefuses(t *testing.T) {
	at := func(key, value string) Batch {
		return Batch{Rev: 5, Put: map[string]KV{key: {[]byte(value), 5}}}
	}
	tests := []struct {
		name   string
		batch  Batch
		format int    // of the FormatError that is wanted; 0: another error
		want   string // in the error; empty: none
	}{
		{"a known format", at(metaKey, `{"format":1}`), 0, ""},
		{"a newer format", at(metaKey, `{"format":2}`), 2, "use a newer one"},
		{"a newer format of another shape", at(metaKey, `{"format":3,"cluster_id":{"a":1}}`), 3, "use a newer one"},
		{"a newer format beside what does not decode", Batch{Rev: 5, Put: map[string]KV{metaKey: {[]byte(`{"format":2}`), 5}, "node/n1": {[]byte(`[]`), 5}}}, 2, "use a newer one"},
		{"garbage", at("container/101", `{`), 0, "decode container/101"},
		{"a record under a wrong key", at("container/101", `{"ctid":"102"}`), 0, `"102"`},
		{"a kind that is not known", at("snapshot/1", `{`), 0, ""},
		{"a log that goes back", Batch{Rev: 3, Reset: true}, 0, "went back"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newState()
			s.rev = 4
			_, err := s.apply(test.batch)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			var format *FormatError
			if errors.As(err, &format) != (test.format != 0) || format != nil && format.Have != test.format {
				t.Errorf("got %#v, want a FormatError with %d", err, test.format)
			}
		})
	}
}
