package cluster

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// full is a spec in which every field that can change has a value.
func full() Spec {
	return Spec{
		Template: "debian", Hostname: "a", Resources: Resources{1500, 1 << 30, 2 << 30}, SwapBytes: 3, CPUUnits: 4, CPULimit: 5,
		NumProc: 60, OnBoot: true, Init: []string{"/sbin/init"}, Privileged: true,
		Net: Network{Bridge: "br0", MAC: "02:00:00:00:00:01", Addresses: []string{"10.0.0.5/24"}, Gateway: "10.0.0.1", Nameserver: []string{"10.0.0.1"}},
	}
}

func TestTakeAll(t *testing.T) {
	if len(FieldNames()) != len(take) {
		t.Fatalf("FieldNames has %d, the table %d", len(FieldNames()), len(take))
	}
	got, err := Spec{}.Take(full(), FieldNames())
	if err != nil {
		t.Fatal(err)
	}
	want := full()
	want.Template, want.Privileged, want.Net.MAC = "", false, ""
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

// TestTakeOne: each name is the path of the field in the spec's JSON, and takes that field and nothing else.
func TestTakeOne(t *testing.T) {
	for _, f := range FieldNames() {
		got, err := Spec{}.Take(full(), []string{f})
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range FieldNames() {
			have, empty := at(t, got, other), at(t, Spec{}, other)
			if changed := !reflect.DeepEqual(have, empty); changed != (other == f) {
				t.Errorf("Take(%s): %s changed is %v", f, other, changed)
			}
		}
	}
}

// at looks a path up in the spec's JSON.
func at(t *testing.T, s Spec, path string) any {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	for _, p := range strings.Split(path, ".") {
		v = v.(map[string]any)[p]
	}
	return v
}

func TestTakeRefuses(t *testing.T) {
	for _, f := range [][]string{nil, {"template"}, {"privileged"}, {"net.mac"}, {"nonsense"}} {
		s, err := full().Take(Spec{}, f)
		var invalid *InvalidError
		if !errors.As(err, &invalid) {
			t.Errorf("Take(%v): %v", f, err)
		}
		if !reflect.DeepEqual(s, full()) {
			t.Errorf("Take(%v) changed the spec", f)
		}
	}
}
