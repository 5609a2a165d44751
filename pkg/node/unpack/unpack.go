package unpack

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// ErrNotTar says that the input is not a tar archive.
var ErrNotTar = errors.New("not a tar archive")

// EntryError says which entry of the archive was refused, and why.
type EntryError struct {
	Name string
	Err  error
}

func (e *EntryError) Error() string { return fmt.Sprintf("entry %q: %v", e.Name, e.Err) }
func (e *EntryError) Unwrap() error { return e.Err }

// Options say how to unpack.
type Options struct {
	IDBase   uint32 // added to each owner; 0 keeps them
	IDRange  uint32 // owners at or above are refused; 0: no bound
	MaxBytes uint64 // of all files together; 0: no bound
}

// File unpacks the archive in file into dir, which must exist and should be empty. On an error dir is left as far as it got.
// Nothing is synced.
func File(ctx context.Context, file, dir string, o Options) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return Unpack(ctx, f, dir, o)
}

// Unpack is [File] for an archive from anywhere.
func Unpack(ctx context.Context, in io.Reader, dir string, o Options) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	plain, closer, err := decompress(in)
	if err != nil {
		return err
	}
	defer closer()
	u := &unpacker{root: root, opt: o}
	tr := tar.NewReader(plain)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if u.entries == 0 {
				return fmt.Errorf("%w: %w", ErrNotTar, err)
			}
			return fmt.Errorf("after %d entries: %w", u.entries, err)
		}
		if u.entries++; u.entries > maxEntries {
			return fmt.Errorf("more than %d entries", maxEntries)
		}
		if err := u.entry(h, tr); err != nil {
			return &EntryError{h.Name, err}
		}
	}
	if u.entries == 0 {
		return fmt.Errorf("%w: it has no entries", ErrNotTar)
	}
	return u.finishDirs()
}

// decompress looks at the first bytes.
func decompress(in io.Reader) (io.Reader, func(), error) {
	br := bufio.NewReaderSize(in, 1<<18)
	magic, err := br.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		zr, err := gzip.NewReader(br)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrNotTar, err)
		}
		return zr, func() { _ = zr.Close() }, nil
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		zr, err := zstd.NewReader(br, zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrNotTar, err)
		}
		return zr, zr.Close, nil
	}
	return br, func() {}, nil
}

// maxEntries bounds what an archive can cost in inodes and in our memory.
const maxEntries = 4 << 20

// cleanName returns a name of the archive relative to the root, "." for the root itself.
func cleanName(name string) (string, error) {
	switch {
	case name == "":
		return "", errors.New("empty name")
	case strings.HasPrefix(name, "/"):
		return "", errors.New("absolute name")
	case strings.ContainsRune(name, 0):
		return "", errors.New("name with a NUL byte")
	}
	for _, part := range strings.Split(name, "/") {
		if part == ".." {
			return "", errors.New("name with .. in it")
		}
	}
	return path.Clean(name), nil
}

// plainDevices may be in an archive's dev/: they are not unpacked.
var plainDevices = map[string]bool{"null": true, "zero": true, "full": true, "random": true, "urandom": true, "tty": true, "console": true,
	"ptmx": true, "tty0": true, "fuse": true, "net/tun": true}

// passedOver tells whether a device node is one that the host's /dev stands for.
func passedOver(name string) bool {
	rest, ok := strings.CutPrefix(name, "dev/")
	return ok && plainDevices[rest]
}
