package rootsync

import (
	"bytes"
	"errors"

	"github.com/vzcluster/vzcluster/proto/vzpb"
	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"
)

const (
	chunkSize = 256 << 10 // of a data frame
	blockSize = 64 << 10  // what is compared in a changed file
	deltaMin  = 256 << 10 // smaller files are sent whole
)

type blockHash [16]byte

var (
	zeroBlock [blockSize]byte
	zeroHash  = hashBlock(zeroBlock[:])
)

func hashBlock(p []byte) (h blockHash) {
	sum := blake3.Sum256(p)
	copy(h[:], sum[:])
	return h
}

// content sends a file's bytes: all that is no hole, or with e.Delta those blocks that differ from what was sent before. The last frame
// says where the file ends: it may have become shorter while it was read. A file of 0 bytes has no frames.
func (s *Sender) content(n *node, fd int, e *vzpb.TransferEntry, out Out) error {
	size := int64(e.Size)
	old := n.blocks
	n.blocks = nil
	if size == 0 {
		return nil
	}
	var hashes []blockHash
	if size >= deltaMin {
		hashes = make([]blockHash, 0, (size+blockSize-1)/blockSize)
	}
	f := frames{s: s, out: out}
	holes := holeFinder{fd: fd}
	off := int64(0)
	for off < size {
		want := min(chunkSize, size-off)
		if holes.covers(off, off+want) {
			if err := f.zeros(off, want, old, &hashes); err != nil {
				return err
			}
			off += want
			s.onSent(uint64(want))
			continue
		}
		got, err := preadFull(fd, s.buf[:want], off)
		if err != nil {
			return err
		}
		for at := 0; at < got; at += blockSize {
			block := s.buf[at:min(at+blockSize, got)]
			if hashes != nil {
				h := hashBlock(block)
				i := len(hashes)
				hashes = append(hashes, h)
				if i < len(old) && old[i] == h {
					if err := f.flush(false); err != nil {
						return err
					}
					continue
				}
			}
			f.add(off+int64(at), block)
		}
		// The buffer is used again: what it holds must be on its way.
		if err := f.flush(false); err != nil {
			return err
		}
		off += int64(got)
		s.onSent(uint64(got))
		if int64(got) < want {
			break
		}
	}
	n.blocks = hashes
	f.off, f.data = off, nil
	return f.flush(true)
}

// frames joins neighbouring blocks of one buffer into one frame.
type frames struct {
	s    *Sender
	out  Out
	off  int64
	data []byte
}

func (f *frames) add(off int64, block []byte) {
	if f.data == nil {
		f.off, f.data = off, block
		return
	}
	f.data = f.data[:len(f.data)+len(block)] // the next block of the same buffer
}

func (f *frames) flush(end bool) error {
	if f.data == nil && !end {
		return nil
	}
	d := &vzpb.TransferData{Offset: uint64(f.off), Data: f.data, End: end}
	f.s.sum.data(d.Offset, d.Data, end)
	f.data = nil
	return f.out.Send(&vzpb.TransferFrame{Part: &vzpb.TransferFrame_Data{Data: d}})
}

// zeros deals with a hole: nothing to send, unless the target has something else there from a former round.
func (f *frames) zeros(off, size int64, old []blockHash, hashes *[]blockHash) error {
	if *hashes == nil {
		return nil
	}
	for at := int64(0); at < size; at += blockSize {
		block := zeroBlock[:min(blockSize, size-at)]
		h := zeroHash
		if len(block) < blockSize {
			h = hashBlock(block)
		}
		i := len(*hashes)
		*hashes = append(*hashes, h)
		if i >= len(old) || old[i] == h { // behind the end of what the target has, it reads zeros anyway
			continue
		}
		f.off, f.data = off+at, block
		if err := f.flush(false); err != nil {
			return err
		}
	}
	return nil
}

// holeFinder knows the next stretch of data.
type holeFinder struct {
	fd         int
	start, end int64 // of the data at or after the last question
	none       bool  // no data up to the end of the file, or the file system can't tell (then start, end cover everything)
}

// covers tells whether [from, to) is one hole. Questions must come in ascending order.
func (h *holeFinder) covers(from, to int64) bool {
	if h.none {
		return true
	}
	if from >= h.end {
		start, err := unix.Seek(h.fd, from, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			h.none = true
			return true
		}
		if err == nil {
			h.start = start
			h.end, err = unix.Seek(h.fd, start, unix.SEEK_HOLE)
		}
		if err != nil {
			h.start, h.end = 0, 1<<62
		}
	}
	return to <= h.start
}

// preadFull reads until p is full or the file ends.
func preadFull(fd int, p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Pread(fd, p[done:], off+int64(done))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, err
		}
		if n == 0 {
			break
		}
		done += n
	}
	return done, nil
}

// allZero tells whether p holds nothing but zeros.
func allZero(p []byte) bool {
	for len(p) > blockSize {
		if !bytes.Equal(p[:blockSize], zeroBlock[:]) {
			return false
		}
		p = p[blockSize:]
	}
	return bytes.Equal(p, zeroBlock[:len(p)])
}
