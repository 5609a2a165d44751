package rootsync

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/vzcluster/vzcluster/proto/vzpb"
	"github.com/zeebo/blake3"
)

// digest covers every entry and every byte of content, in the order in which they were sent. Both sides keep one.
type digest struct {
	h       *blake3.Hasher
	entries uint64
	bytes   uint64
	scratch []byte
}

func newDigest() *digest { return &digest{h: blake3.New()} }

// entry adds an entry: each field with its length, so that no two entries have the same image.
func (d *digest) entry(e *vzpb.TransferEntry) {
	b := append(d.scratch[:0], 'E')
	put := func(p []byte) { b = append(binary.LittleEndian.AppendUint64(b, uint64(len(p))), p...) }
	num := func(v uint64) { b = binary.LittleEndian.AppendUint64(b, v) }
	put(e.Path)
	num(uint64(e.Mode)<<32 | uint64(e.Uid))
	num(uint64(e.Gid))
	num(uint64(e.MtimeNs))
	num(e.Size)
	num(e.Rdev)
	put(e.Link)
	var flags uint64
	for i, f := range []bool{e.Hardlink, e.Deleted, e.MetaOnly, e.Delta} {
		if f {
			flags |= 1 << i
		}
	}
	num(flags)
	num(uint64(len(e.Xattrs)))
	for _, x := range e.Xattrs {
		put([]byte(x.Name))
		put(x.Value)
	}
	_, _ = d.h.Write(b) // a hasher never fails
	d.scratch = b
	d.entries++
}

func (d *digest) data(off uint64, p []byte, end bool) {
	b := append(d.scratch[:0], 'D')
	b = binary.LittleEndian.AppendUint64(b, off)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(p)))
	if end {
		b = append(b, 1)
	}
	_, _ = d.h.Write(b)
	_, _ = d.h.Write(p)
	d.scratch = b
	d.bytes += uint64(len(p))
}

func (d *digest) sum() Sum {
	return Sum{Entries: d.entries, Bytes: d.bytes, Digest: hex.EncodeToString(d.h.Sum(nil))}
}

// Sum tells what was sent or received so far.
type Sum struct {
	Entries uint64 `json:"entries"`
	Bytes   uint64 `json:"bytes"`
	Digest  string `json:"digest"` // blake3, hex
}
