package faultfs

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestFaults(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts a file system")
	}
	backing, dir := t.TempDir(), t.TempDir()
	d, err := Mount(backing, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Unmount(); err != nil {
			t.Error(err)
		}
	}()
	f, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func() error {
		if _, err := f.WriteAt([]byte("x"), 0); err != nil {
			return err
		}
		return f.Sync()
	}
	if err := write(); err != nil {
		t.Fatalf("a disk that is well: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(backing, "file")); err != nil || string(b) != "x" {
		t.Errorf("below: %q, %v", b, err)
	}
	d.Fill()
	if err := write(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full disk: %v", err)
	}
	if _, err := os.Create(filepath.Join(dir, "other")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("create on a full disk: %v", err)
	}
	d.FailSync()
	if err := write(); !errors.Is(err, syscall.EIO) {
		t.Errorf("a disk that fails: %v", err)
	}
	d.Hang()
	done := make(chan error, 1)
	go func() { done <- write() }()
	// Reads go on: it is what is to be written that hangs.
	if _, err := os.ReadFile(filepath.Join(dir, "file")); err != nil {
		t.Error(err)
	}
	select {
	case err := <-done:
		t.Errorf("a write ended though the disk hangs: %v", err)
	default:
	}
	d.Heal()
	if err := <-done; err != nil {
		t.Errorf("after it hung: %v", err)
	}
}
