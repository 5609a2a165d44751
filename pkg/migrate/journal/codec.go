package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
)

const (
	magic      = "VZJRNL1\n"
	headerSize = 12
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encode(rec Record) ([]byte, error) {
	payload, err := json.Marshal(rec)
	if err != nil {
		return nil, err
	}
	if len(payload) > MaxRecord {
		return nil, fmt.Errorf("record of %d bytes is longer than %d", len(payload), MaxRecord)
	}
	out := make([]byte, headerSize, headerSize+len(payload)+1)
	binary.LittleEndian.PutUint32(out[0:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(out[4:], crc32.Checksum(out[:4], castagnoli))
	binary.LittleEndian.PutUint32(out[8:], crc32.Checksum(payload, castagnoli))
	return append(append(out, payload...), '\n'), nil
}

// Decode reads a whole journal. good is how many bytes are sound; what is behind them is a torn tail. Damage that no torn write
// explains is a *CorruptError.
func Decode(raw []byte) (recs []Record, good int64, err error) {
	if len(raw) < len(magic) {
		if bytes.HasPrefix([]byte(magic), raw) || zero(raw) {
			return nil, 0, nil
		}
		return nil, 0, &CorruptError{Why: "not a journal"}
	}
	if string(raw[:len(magic)]) != magic {
		if zero(raw) {
			return nil, 0, nil
		}
		return nil, 0, &CorruptError{Why: "not a journal"}
	}
	off := len(magic)
	for off < len(raw) {
		rec, n, why := decodeOne(raw[off:])
		switch {
		case n > 0:
			recs = append(recs, rec)
			off += n
		case why == "":
			return recs, int64(off), nil
		default:
			return nil, 0, &CorruptError{Offset: int64(off), Why: why}
		}
	}
	return recs, int64(off), nil
}

// decodeOne returns the record and its length, or 0 and no reason for a torn tail, or 0 and why it is damaged.
func decodeOne(raw []byte) (Record, int, string) {
	// A file system may have made the file longer without writing the blocks: zeros up to the end are a torn tail too.
	if len(raw) < headerSize || zero(raw) {
		return Record{}, 0, ""
	}
	size := binary.LittleEndian.Uint32(raw[0:])
	if crc32.Checksum(raw[:4], castagnoli) != binary.LittleEndian.Uint32(raw[4:]) || size > MaxRecord {
		return Record{}, 0, "damaged record header"
	}
	end := headerSize + int(size) + 1
	if len(raw) < end {
		return Record{}, 0, ""
	}
	if raw[end-1] == 0 && zero(raw[end-1:]) {
		return Record{}, 0, ""
	}
	payload := raw[headerSize : end-1]
	if raw[end-1] != '\n' || crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(raw[8:]) {
		return Record{}, 0, "damaged record"
	}
	var rec Record
	if err := json.Unmarshal(payload, &rec); err != nil {
		return Record{}, 0, "record is not JSON: " + err.Error()
	}
	return rec, end, ""
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
