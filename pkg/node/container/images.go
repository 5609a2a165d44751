package container

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// devicesImage is, among CRIU's images, a tar of what is in the container's /dev and /dev/shm: they are external mounts for CRIU.
const devicesImage = "vz-devices.tar"

// devicesTrees are the parts of a device directory that travel. Device nodes do not, the target makes its own, nor do sockets, which
// CRIU makes again, nor the console's FIFO.
var devicesTrees = []string{"dev", "shm"}

// packDevices writes the tar. The container is frozen.
func packDevices(file, dir string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("pack devices: %w", err)
	}
	defer f.Close()
	buf := bufio.NewWriterSize(f, 256<<10)
	tw := tar.NewWriter(buf)
	links := map[uint64]string{}
	for _, tree := range devicesTrees {
		err := filepath.WalkDir(filepath.Join(dir, tree), func(p string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(dir, p)
			if err != nil {
				return err
			}
			return packEntry(tw, p, rel, links)
		})
		if err != nil {
			return fmt.Errorf("pack devices: %w", err)
		}
	}
	if err := errors.Join(tw.Close(), buf.Flush(), f.Close()); err != nil {
		return fmt.Errorf("pack devices: %w", err)
	}
	return nil
}

func packEntry(tw *tar.Writer, file, rel string, links map[uint64]string) error {
	var st unix.Stat_t
	if err := unix.Lstat(file, &st); err != nil {
		return err
	}
	h := &tar.Header{Name: rel, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid), Format: tar.FormatPAX}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		h.Typeflag = tar.TypeDir
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		to, err := os.Readlink(file)
		if err != nil {
			return err
		}
		h.Linkname = to
	case unix.S_IFIFO:
		if rel == "dev/console" {
			return nil
		}
		h.Typeflag = tar.TypeFifo
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
		if first, ok := links[st.Ino]; ok {
			h.Typeflag, h.Size, h.Linkname = tar.TypeLink, 0, first
		} else if st.Nlink > 1 {
			links[st.Ino] = rel
		}
	default:
		return nil
	}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	if h.Size == 0 {
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyN(tw, f, h.Size)
	return err
}

// unpackDevices puts the content of the tar into a device directory that [Runtime.makeDevices] made. Nothing outside of it is touched,
// whatever the tar says.
func unpackDevices(file, dir string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("unpack devices: %w", err)
	}
	defer f.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpack devices: %w", err)
	}
	defer root.Close()
	tr := tar.NewReader(bufio.NewReaderSize(f, 256<<10))
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = unpackEntry(root, h, tr)
		}
		if err != nil {
			return fmt.Errorf("unpack devices: %w", err)
		}
	}
}

func unpackEntry(root *os.Root, h *tar.Header, content io.Reader) error {
	name := path.Clean(h.Name)
	tree, _, _ := strings.Cut(name, "/")
	if !filepath.IsLocal(name) || (tree != "dev" && tree != "shm") {
		return fmt.Errorf("entry %q", h.Name)
	}
	mode := os.FileMode(h.Mode) & 0o777
	var err error
	switch h.Typeflag {
	case tar.TypeDir:
		if err = root.Mkdir(name, mode); errors.Is(err, os.ErrExist) {
			err = nil
		}
	case tar.TypeSymlink:
		if err = root.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err = root.Symlink(h.Linkname, name); err != nil {
			return err
		}
		return root.Lchown(name, h.Uid, h.Gid)
	case tar.TypeLink:
		return root.Link(h.Linkname, name)
	case tar.TypeFifo:
		err = mkfifo(root, name)
	case tar.TypeReg:
		err = writeFile(root, name, content)
	default:
		return fmt.Errorf("entry %q of type %q", h.Name, h.Typeflag)
	}
	if err != nil {
		return err
	}
	// The owner first: a change of owner clears the set-id bits.
	if err := root.Lchown(name, h.Uid, h.Gid); err != nil {
		return err
	}
	return root.Chmod(name, mode|specialBits(h.Mode))
}

func specialBits(mode int64) (m os.FileMode) {
	for bit, flag := range map[int64]os.FileMode{0o4000: os.ModeSetuid, 0o2000: os.ModeSetgid, 0o1000: os.ModeSticky} {
		if mode&bit != 0 {
			m |= flag
		}
	}
	return m
}

func writeFile(root *os.Root, name string, content io.Reader) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

func mkfifo(root *os.Root, name string) error {
	d, err := root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Mknodat(int(d.Fd()), path.Base(name), unix.S_IFIFO|0o600, 0)
}
