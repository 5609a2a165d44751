// Package faultfs is a directory that fails on command: a FUSE file system over another directory, whose writes can be made to hang,
// to find the disk full, or whose fsync can be made to fail. It needs root and /dev/fuse.
package faultfs

import (
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Disk is one such directory. It is well until told otherwise.
type Disk struct {
	dir   string
	files *files
}

// Mount mounts a Disk on dir, which must exist, over the directory backing. Whoever calls it calls Unmount.
func Mount(backing, dir string) (*Disk, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("mount a file system on %s: this needs root", dir)
	}
	root, err := fs.NewLoopbackRoot(backing)
	if err != nil {
		return nil, fmt.Errorf("loop back to %s: %w", backing, err)
	}
	f := &files{RawFileSystem: fs.NewNodeFS(root, nil)}
	server, err := fuse.NewServer(f, dir, &fuse.MountOptions{DirectMountStrict: true, FsName: "faultfs", Name: "faultfs"})
	if err != nil {
		return nil, fmt.Errorf("mount on %s: %w; is /dev/fuse there?", dir, err)
	}
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		return nil, fmt.Errorf("mount on %s: %w", dir, err)
	}
	return &Disk{dir, f}, nil
}

// Hang has every write, fsync and allocation wait until Heal.
func (d *Disk) Hang() { d.files.set(fault{release: make(chan struct{})}) }

// Fill has every write and allocation fail with ENOSPC until Heal.
func (d *Disk) Fill() { d.files.set(fault{write: syscall.ENOSPC}) }

// FailSync has every fsync fail with EIO until Heal. What was written before it stays readable, as from the page cache.
func (d *Disk) FailSync() { d.files.set(fault{sync: syscall.EIO}) }

// Heal ends all faults: what hangs goes on.
func (d *Disk) Heal() { d.files.set(fault{}) }

// Unmount heals the disk and takes it away. Nobody may use it any more. It does not wait: any mount namespace that was made meanwhile,
// by whomever, has a copy of the mount, and the serving ends with the last.
func (d *Disk) Unmount() error {
	d.Heal()
	if err := unix.Unmount(d.dir, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", d.dir, err)
	}
	return nil
}

// fault is what is wrong.
type fault struct {
	write, sync syscall.Errno // 0: nothing
	release     chan struct{} // closed when what waits may go on; nil: nothing waits
}

// files is the file system below, with the faults.
type files struct {
	fuse.RawFileSystem

	mu  sync.Mutex
	now fault
}

func (f *files) set(to fault) {
	f.mu.Lock()
	was := f.now
	f.now = to
	f.mu.Unlock()
	if was.release != nil {
		close(was.release)
	}
}

// meet waits for as long as the disk hangs and returns what is wrong then.
func (f *files) meet() fault {
	for {
		f.mu.Lock()
		now := f.now
		f.mu.Unlock()
		if now.release == nil {
			return now
		}
		<-now.release
	}
}

// Write implements [fuse.RawFileSystem], as do all methods below.
func (f *files) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if bad := f.meet(); bad.write != 0 {
		return 0, fuse.Status(bad.write)
	}
	return f.RawFileSystem.Write(cancel, in, data)
}

func (f *files) Writev(cancel <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	if bad := f.meet(); bad.write != 0 {
		return 0, fuse.Status(bad.write)
	}
	return f.RawFileSystem.Writev(cancel, in, data)
}

func (f *files) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	if bad := f.meet(); bad.write != 0 {
		return fuse.Status(bad.write)
	}
	status := f.RawFileSystem.Create(cancel, in, name, out)
	notPast(&out.OpenOut)
	return status
}

func (f *files) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	status := f.RawFileSystem.Open(cancel, in, out)
	notPast(out)
	return status
}

// notPast has the kernel bring what is written to us instead of passing it by to the file below.
func notPast(out *fuse.OpenOut) {
	out.OpenFlags &^= fuse.FOPEN_PASSTHROUGH
	out.BackingID = 0
}

func (f *files) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	if bad := f.meet(); bad.write != 0 {
		return fuse.Status(bad.write)
	}
	return f.RawFileSystem.Fallocate(cancel, in)
}

func (f *files) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if bad := f.meet(); bad.sync != 0 {
		return fuse.Status(bad.sync)
	}
	return f.RawFileSystem.Fsync(cancel, in)
}
