package raftlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// The format of raft-wal's segment files: a header, then frames; each append ends with a commit frame that holds the checksum of
// everything since the one before it. Every frame starts at a multiple of 8.
const (
	segmentHeader = 32
	frameHeader   = 8

	frameEntry  = 1
	frameIndex  = 2
	frameCommit = 3

	sector = 512 // what a disk writes whole or not at all
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is one frame of a segment.
type frame struct {
	kind byte
	size int    // of the whole frame, with padding
	crc  uint32 // commit frames
}

// frameAt decodes the frame at offset; ok is false when there is none.
func frameAt(data []byte, offset int) (f frame, ok bool) {
	if offset+frameHeader > len(data) {
		return f, false
	}
	h := data[offset : offset+frameHeader]
	if h[1] != 0 || h[2] != 0 || h[3] != 0 {
		return f, false
	}
	n := binary.LittleEndian.Uint32(h[4:])
	switch h[0] {
	case frameEntry, frameIndex:
		size := frameHeader + int(n)
		size += -size & (frameHeader - 1)
		return frame{kind: h[0], size: size}, offset+size <= len(data)
	case frameCommit:
		return frame{kind: frameCommit, size: frameHeader, crc: n}, true
	}
	return f, false
}

// batch is what one append has written.
type batch struct {
	entries int
	sealed  bool // it has the segment's index: it is the last
	end     int  // offset behind it
}

// batchAt reads the batch whose first frame is at first and whose checksum begins at from. framed: it is complete down to its
// commit frame; whole: its checksum is right, too.
func batchAt(data []byte, from, first int) (b batch, framed, whole bool) {
	for at := first; ; {
		f, ok := frameAt(data, at)
		if !ok {
			return b, false, false
		}
		switch f.kind {
		case frameEntry:
			b.entries++
		case frameIndex:
			b.sealed = true
		case frameCommit:
			b.end = at + f.size
			return b, true, crc32.Checksum(data[from:at], castagnoli) == f.crc
		}
		at += f.size
	}
}

// checkSegment looks at a whole segment and returns how many entries it has and whether it was sealed. raft-wal itself takes
// everything behind the first frame that it can't read for a torn write, and would forget entries that were acknowledged long ago
// because of one flipped bit. An append is begun only after the one before it is on disk; so it is no torn write if something whole
// follows.
func checkSegment(data []byte) (entries int, sealed bool, err error) {
	from, first := 0, segmentHeader
	for {
		b, framed, whole := batchAt(data, from, first)
		if whole {
			entries += b.entries
			from, first = b.end, b.end
			if b.sealed {
				return entries, true, nil
			}
			continue
		}
		rest := data[min(from, len(data)):]
		if len(bytes.TrimLeft(rest, "\x00")) == 0 {
			return entries, false, nil
		}
		if at, ok := wholeBehind(data, first); ok {
			return entries, false, fmt.Errorf("the record at byte %d is damaged, and a whole one follows at byte %d", first, at)
		}
		if framed && !torn(data, from, b.end) {
			return entries, false, fmt.Errorf("the last record, at byte %d, is damaged, and not by a write that was cut off", first)
		}
		return entries, false, nil
	}
}

// wholeBehind looks for a whole batch that begins behind offset.
func wholeBehind(data []byte, offset int) (at int, ok bool) {
	for at := offset + frameHeader; at < len(data); at += frameHeader {
		if f, ok := frameAt(data, at); !ok || f.kind == frameCommit {
			continue // a batch begins with an entry
		}
		if _, _, whole := batchAt(data, at, at); whole {
			return at, true
		}
	}
	return 0, false
}

// torn tells whether a write of data[from:end] may have been cut off: then a sector, or the part of one, is as it was allocated.
func torn(data []byte, from, end int) bool {
	for from < end {
		next := min(from-from%sector+sector, end)
		if len(bytes.TrimLeft(data[from:next], "\x00")) == 0 {
			return true
		}
		from = next
	}
	return false
}
