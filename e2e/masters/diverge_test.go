package masters

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"

	"github.com/vzcluster/vzcluster/e2e/lab"
)

// TestDivergedMaster: one master comes to another state from the same log. It notices by itself, and neither serves nor leads any more;
// the others go on, and their status says that one is missing.
func TestDivergedMaster(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	r := drive(t, up(t, lab.Config{Name: "masters-diverge", Masters: 3}))
	r.progress(t, ctx, 100)
	victim := r.follower(t, ctx)
	kill(t, r, victim)
	if err := twist(filepath.Join(r.Lab.DiskPath(victim, "/master"), "wal")); err != nil {
		t.Fatal(err)
	}
	said := len(logOf(t, r.Cluster, victim))
	if err := r.Lab.Start(victim); err != nil {
		t.Fatal(err)
	}
	inQuarantine := func() {
		t.Helper()
		ends(t, ctx, r.Cluster, victim)
		got := logOf(t, r.Cluster, victim)[said:]
		line := got[max(0, strings.LastIndex(got, "error: ")):]
		if !strings.Contains(line, "in quarantine") || !strings.Contains(line, "2 of 3 masters agree") {
			t.Errorf("it does not say why it ends: %s", line)
		}
		t.Logf("%s: %s", victim, strings.TrimSpace(line))
	}
	inQuarantine()
	limit, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	poll(t, limit, "an alarm about "+victim, func() error {
		st, err := r.statusBut(limit, victim)
		if err == nil && !strings.Contains(strings.Join(st.Alarms, "\n"), victim) {
			err = fmt.Errorf("alarms: %q", st.Alarms)
		}
		return err
	})
	said = len(logOf(t, r.Cluster, victim))
	if err := r.Lab.Start(victim); err != nil {
		t.Fatal(err)
	}
	inQuarantine()
	resync(t, ctx, r, victim)
	r.progress(t, ctx, 50)
	r.end(t, ctx)
}

// twist changes one of the last entries of a log, so that no checksum on disk and no rule of raft notices: as a bit that flips in
// memory does, or two binaries that understand an entry differently.
func twist(dir string) (err error) {
	meta := &metadb.BoltMetaDB{}
	log, err := wal.Open(dir, wal.WithMetaStore(meta))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close(), meta.Close()) }()
	last, err := log.LastIndex()
	if err != nil {
		return err
	}
	var behind []*raft.Log
	for i := last; i > 0; i-- {
		entry := new(raft.Log)
		if err := log.GetLog(i, entry); err != nil {
			return err
		}
		behind = append([]*raft.Log{entry}, behind...)
		if entry.Type != raft.LogCommand || len(behind) < 10 {
			continue
		}
		var proposal map[string]any
		if err := json.Unmarshal(entry.Data, &proposal); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		put, ok := proposal["txn"].(map[string]any)["put"].(map[string]any)
		if !ok {
			continue
		}
		put["nobody/knows"] = "e30=" // a record that stays: nobody writes it again
		if entry.Data, err = json.Marshal(proposal); err != nil {
			return err
		}
		if err := log.DeleteRange(i, last); err != nil {
			return err
		}
		return log.StoreLogs(behind)
	}
	return errors.New("no entry to change")
}
