package raftlog_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/vzcluster/vzcluster/pkg/store/raftlog"
)

var quiet = slog.New(slog.DiscardHandler)

// What a stopped member holds, behind a snapshot and without one, is what it held when it ran; and a cluster that is seeded with it
// goes on from there.
func TestOffline(t *testing.T) {
	for _, snapshot := range []bool{false, true} {
		t.Run(fmt.Sprint("snapshot=", snapshot), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testOffline(t, snapshot) })
		})
	}
}

func testOffline(t *testing.T, snapshot bool) {
	b := newBackend(t)
	lead := run(t, b.config(0))
	<-lead.led
	lead.put(t, "a", "1")
	if snapshot {
		if err := lead.Snapshot(); err != nil {
			t.Fatal(err)
		}
	}
	rev := lead.put(t, "b", "2")
	if _, err := raftlog.OpenOffline(b.config(0).DataDir, quiet); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("opened while the member runs: %v", err)
	}
	if err := lead.stop(); err != nil {
		t.Fatal(err)
	}
	o, err := raftlog.OpenOffline(b.config(0).DataDir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if o.ID != id(0) || o.Rev != rev || o.LastIndex != uint64(rev) || o.Term != o.LastTerm || o.Term == 0 || fmt.Sprint(o.Voters) != fmt.Sprint([]string{id(0)}) {
		t.Errorf("%+v, want revision %d of %s", o, rev, id(0))
	}
	if len(o.Data) != 2 || string(o.Data["a"].Value) != "1" || o.Data["b"].Rev != rev {
		t.Errorf("data %v", o.Data)
	}

	conf := b.config(1)
	if err := raftlog.Seed(conf.DataDir, conf.ID, conf.RaftAddr, o.Rev+1000, o.Data, quiet); err != nil {
		t.Fatal(err)
	}
	if err := raftlog.Seed(conf.DataDir, conf.ID, conf.RaftAddr, o.Rev, o.Data, quiet); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("seeded twice: %v", err)
	}
	next := run(t, conf)
	<-next.led
	next.wait(t, "a", "1")
	if got := next.put(t, "c", "3"); got <= rev+1000 {
		t.Errorf("revision %d after %d", got, rev+1000)
	}
	other := run(t, b.config(2))
	if err := next.AddVoter(t.Context(), id(2), raftAddr(2)); err != nil {
		t.Fatal(err)
	}
	other.wait(t, "b", "2")
	other.wait(t, "c", "3")
	for range 2 { // and after a restart
		if err := next.stop(); err != nil {
			t.Fatal(err)
		}
		next = run(t, conf)
		next.wait(t, "c", "3")
		next.wait(t, "a", "1")
	}
}

func TestRetired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(t)
		lead := run(t, b.config(0))
		<-lead.led
		if err := lead.stop(); err != nil {
			t.Fatal(err)
		}
		o, err := raftlog.OpenOffline(b.config(0).DataDir, quiet)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Retire("moved to the moon"); err != nil {
			t.Fatal(err)
		}
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
		log, err := raftlog.New(b.config(0))
		if err != nil {
			t.Fatal(err)
		}
		if err := log.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "moved to the moon") {
			t.Errorf("a retired directory: %v", err)
		}
		if _, err := raftlog.OpenOffline(b.config(0).DataDir, quiet); err == nil {
			t.Error("a retired directory was opened")
		}
		if _, err := raftlog.OpenOffline(filepath.Join(b.dir, "nothing"), quiet); err == nil {
			t.Error("opened what is not there")
		}
	})
}
