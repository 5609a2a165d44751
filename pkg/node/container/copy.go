package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// Record is what this host durably knows of its copy of a container: for which epoch it holds it, and which orders it has carried out.
type Record struct {
	CTID    string            `json:"ctid"`
	Epoch   cluster.Epoch     `json:"epoch"`
	RunGen  uint64            `json:"run_gen"`
	SpecGen uint64            `json:"spec_gen"`
	Spec    cluster.Container `json:"container"` // as last ordered
}

func recordOf(c cluster.Container) Record {
	return Record{CTID: c.CTID, Epoch: c.Epoch, RunGen: c.RunGen, SpecGen: c.SpecGen, Spec: c}
}

// writeRecord replaces a record's file; when it returns the record survives a crash of the host.
func writeRecord(path string, rec Record) error {
	b, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	if err := writeDurably(path, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return nil
}

// readRecord returns os.ErrNotExist if there is none.
func readRecord(path string) (Record, error) {
	var rec Record
	b, err := os.ReadFile(path)
	if err != nil {
		return rec, err
	}
	if err := json.Unmarshal(b, &rec); err != nil {
		return rec, fmt.Errorf("read record %s: %w", path, err)
	}
	return rec, nil
}

// held returns the record of the live copy of ctid; ok is false if this host holds none.
func (r *Runtime) held(ctid string) (rec Record, ok bool, err error) {
	if fi, err := os.Lstat(r.rootDir(ctid)); err != nil || !fi.IsDir() {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return rec, false, err
		}
		return rec, false, nil
	}
	rec, err = readRecord(r.confPath(ctid))
	if errors.Is(err, fs.ErrNotExist) {
		return rec, false, fmt.Errorf("%s has a root but no record", ctid)
	}
	return rec, err == nil, err
}

// writeDurably replaces a file by way of a temporary name and syncs file and directory.
func writeDurably(path string, b []byte, mode os.FileMode) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes renames in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// renameDurably moves a directory entry and syncs both parents.
func renameDurably(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(to)); err != nil {
		return err
	}
	return syncDir(filepath.Dir(from))
}
