package raftlog

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

func TestOwner(t *testing.T) {
	dir := t.TempDir()
	read := func() Owner {
		t.Helper()
		o, err := ReadOwner(dir)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	if o := read(); !reflect.DeepEqual(o, Owner{}) {
		t.Errorf("an empty directory: %+v", o)
	}
	written(t, dir, 10)
	i := &identity{Instance: "i", Peers: []string{"m2:7700"}, path: filepath.Join(dir, identityFile)}
	if err := i.write(); err != nil {
		t.Fatal(err)
	}
	if o := read(); o.ID != "a" || !reflect.DeepEqual(o.Peers, i.Peers) || o.Self.ID != "" {
		t.Errorf("a member's directory: %+v", o)
	}
	// A resync that is interrupted right after the data was moved aside still knows what it needs.
	noted := Owner{ID: "a", Peers: []string{"m2:7700"}, Self: cluster.Master{ID: "a", RaftAddr: "m1:7701", APIAddr: "m1:7700"}}
	if err := noted.Note(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Empty(dir, "a", 3); err != nil {
		t.Fatal(err)
	}
	if o := read(); !reflect.DeepEqual(o, noted) {
		t.Errorf("in the middle: %+v", o)
	}
	for range 2 {
		if err := Settled(dir); err != nil {
			t.Error(err)
		}
	}
	if o := read(); o.ID != "a" || o.Self.ID != "" {
		t.Errorf("afterwards: %+v", o)
	}
}

func TestClaim(t *testing.T) {
	dir := t.TempDir()
	d := mustOpen(t, dir)
	if _, err := Claim(dir); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("while a member runs: %v", err)
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	release, err := Claim(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, dir, "a"); err == nil {
		t.Error("a member started on a claimed directory")
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	if _, err := Claim(filepath.Join(dir, "nothing")); !os.IsNotExist(err) {
		t.Errorf("a directory that is not there: %v", err)
	}
}
