package migrate

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/vzcluster/vzcluster/proto/vzpb"
	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"
)

const (
	chunkSize  = 256 << 10
	maxImages  = 1 << 16 // files in an attempt
	maxConsole = 1 << 20 // bytes of the console's log that travel
	consoleLog = "console.log"
)

var fileName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

// makeImagesDir makes the directory of one attempt's images, empty. Memory images hold keys and passwords: the parent is closed to
// everybody. The directory itself is open, since CRIU enters it as the container's own user when that one is in a user namespace.
func makeImagesDir(parent, id string) (string, error) {
	dir := filepath.Join(parent, id)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", err
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

// sendFile sends one whole file and returns its line in the manifest. tail limits it to its last bytes; 0: all of it.
func sendFile(ctx context.Context, out *outStream, path, set, name string, tail int64, faults *Faults) (File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return File{}, err
	}
	if !st.Mode().IsRegular() {
		return File{}, fmt.Errorf("send %s: not a regular file", path)
	}
	left := st.Size()
	if tail > 0 && left > tail {
		if _, err := f.Seek(left-tail, io.SeekStart); err != nil {
			return File{}, err
		}
		left = tail
	}
	out.Lock()
	defer out.Unlock()
	if err := out.Send(&vzpb.TransferFrame{Part: &vzpb.TransferFrame_File{File: &vzpb.TransferFile{Name: name, Set: set}}}); err != nil {
		return File{}, err
	}
	h := blake3.New()
	size := uint64(0)
	buf := out.buffer
	for {
		if err := ctx.Err(); err != nil {
			return File{}, err
		}
		n, err := io.ReadFull(f, buf[:min(int64(len(buf)), left)])
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return File{}, fmt.Errorf("send %s: %w", path, err)
		}
		left -= int64(n)
		end := left == 0 || err != nil
		_, _ = h.Write(buf[:n]) // a hasher never fails
		if set == SetImages {
			faults.corrupt(buf[:n])
		}
		d := &vzpb.TransferData{Offset: size, Data: buf[:n], End: end}
		if err := out.Send(&vzpb.TransferFrame{Part: &vzpb.TransferFrame_Data{Data: d}}); err != nil {
			return File{}, err
		}
		size += uint64(n)
		if end {
			return File{Set: set, Name: name, Size: size, Digest: hex.EncodeToString(h.Sum(nil))}, nil
		}
	}
}

// sendImages sends every file in dir, the largest first: the small ones then hide behind its last frames.
func sendImages(ctx context.Context, out *outStream, dir string, faults *Faults) ([]File, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	sizes := make(map[string]int64, len(list))
	for _, e := range list {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		sizes[e.Name()] = info.Size()
	}
	slices.SortFunc(list, func(a, b os.DirEntry) int { return int(min(max(sizes[b.Name()]-sizes[a.Name()], -1), 1)) })
	files := make([]File, 0, len(list))
	for _, e := range list {
		f, err := sendFile(ctx, out, filepath.Join(dir, e.Name()), SetImages, e.Name(), 0, faults)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// fileReceiver writes image files and hashes them as they come in.
type fileReceiver struct {
	dirs  map[string]*os.Root // by set
	limit uint64              // bytes
	got   uint64
	files []File
	f     *os.File
	h     *blake3.Hasher
	now   File
}

func newFileReceiver(images, console string, limit uint64) (*fileReceiver, error) {
	r := &fileReceiver{dirs: map[string]*os.Root{}, limit: limit}
	for set, dir := range map[string]string{SetImages: images, SetConsole: console} {
		root, err := os.OpenRoot(dir)
		if err != nil {
			r.close()
			return nil, err
		}
		r.dirs[set] = root
	}
	return r, nil
}

func (r *fileReceiver) close() {
	if r.f != nil {
		r.f.Close()
	}
	for _, d := range r.dirs {
		d.Close()
	}
}

func (r *fileReceiver) open(f *vzpb.TransferFile) error {
	root := r.dirs[f.Set]
	if r.f != nil || root == nil || !fileName.MatchString(f.Name) || f.Set == SetConsole && f.Name != consoleLog {
		return fmt.Errorf("unexpected file %q of set %q", f.Name, f.Set)
	}
	if len(r.files) >= maxImages {
		return fmt.Errorf("more than %d files", maxImages)
	}
	out, err := root.OpenFile(f.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	// CRIU opens images as the container's own user, too; nobody else gets as far as here: see makeImagesDir. Whatever the umask.
	if err := out.Chmod(0o644); err != nil {
		return errors.Join(err, out.Close())
	}
	r.f, r.h, r.now = out, blake3.New(), File{Set: f.Set, Name: f.Name}
	return nil
}

func (r *fileReceiver) data(d *vzpb.TransferData) error {
	if d.Offset != r.now.Size || len(d.Data) > chunkSize {
		return fmt.Errorf("%s: %d bytes at %d, expected at %d", r.now.Name, len(d.Data), d.Offset, r.now.Size)
	}
	if r.got += uint64(len(d.Data)); r.got > r.limit {
		return fmt.Errorf("the images are larger than the %d bytes that the container can have", r.limit)
	}
	if _, err := r.f.Write(d.Data); err != nil {
		return err
	}
	_, _ = r.h.Write(d.Data)
	r.now.Size += uint64(len(d.Data))
	if !d.End {
		return nil
	}
	r.now.Digest = hex.EncodeToString(r.h.Sum(nil))
	r.files = append(r.files, r.now)
	err := r.f.Close()
	r.f = nil
	return err
}

// readFiles hashes images that are already here: for a restarted agent that is to restore them again.
func readFiles(dir string, want []File) ([]File, error) {
	var out []File
	for _, w := range want {
		if w.Set != SetImages || !fileName.MatchString(w.Name) {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, w.Name), os.O_RDONLY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return nil, err
		}
		h := blake3.New()
		n, err := io.Copy(h, f)
		f.Close()
		if err != nil {
			return nil, err
		}
		out = append(out, File{Set: w.Set, Name: w.Name, Size: uint64(n), Digest: hex.EncodeToString(h.Sum(nil))})
	}
	return out, nil
}
