package snapfile

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"

	"github.com/vzcluster/vzcluster/pkg/store"
)

const (
	magic   = "vzcluster-snapshot"
	version = 1
	// window bounds what a file may have the reader keep in memory beside one line.
	window = 8 << 20
)

// Header is the first line of a file.
type Header struct {
	Magic     string    `json:"magic"`
	Version   int       `json:"version"`
	ClusterID string    `json:"cluster_id"`
	Format    int       `json:"format"` // of the records
	Rev       store.Rev `json:"rev"`
	Term      uint64    `json:"term"` // of the leader that took it
	Keys      int       `json:"keys"`
	Taken     time.Time `json:"taken"`
	Master    string    `json:"master"` // that took it
}

type line struct {
	Key string `json:"k"`
	store.KV
}

type trailer struct {
	Blake3 string `json:"blake3"`
}

// ErrDamaged: the file is not what was written.
var ErrDamaged = errors.New("the snapshot is damaged")

// Write writes data, which is that of revision h.Rev. Magic, Version and Keys of h are filled in.
func Write(w io.Writer, h Header, data map[string]store.KV) error {
	h.Magic, h.Version, h.Keys = magic, version, len(data)
	z, err := zstd.NewWriter(w, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	sum := blake3.New()
	buf := bufio.NewWriterSize(io.MultiWriter(z, sum), 1<<16)
	enc := json.NewEncoder(buf)
	err = enc.Encode(h)
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if err == nil {
			err = enc.Encode(line{key, data[key]})
		}
	}
	if err = errors.Join(err, buf.Flush()); err != nil {
		return errors.Join(err, z.Close())
	}
	return errors.Join(json.NewEncoder(z).Encode(trailer{hex.EncodeToString(sum.Sum(nil))}), z.Close())
}

// Read reads and checks a file. An error that is an ErrDamaged says that it is not to be used.
func Read(r io.Reader) (Header, map[string]store.KV, error) {
	var h Header
	z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(window), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return h, nil, err
	}
	defer z.Close()
	in, sum := bufio.NewReaderSize(z, 1<<16), blake3.New()
	next := func(v any) error {
		b, err := in.ReadBytes('\n')
		if err == nil {
			_, _ = sum.Write(b) // never fails
			err = json.Unmarshal(b, v)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return nil
	}
	if err := next(&h); err != nil || h.Magic != magic {
		return h, nil, fmt.Errorf("not a snapshot of a vzcluster: %w", errors.Join(err, ErrDamaged))
	}
	if h.Version != version || h.Format > store.Format {
		return h, nil, fmt.Errorf("the snapshot has version %d with records of format %d, this binary knows %d and %d: use a newer one", h.Version, h.Format, version, store.Format)
	}
	data := map[string]store.KV{}
	for range h.Keys {
		var l line
		if err := next(&l); err != nil {
			return h, nil, err
		}
		data[l.Key] = l.KV
	}
	want := hex.EncodeToString(sum.Sum(nil))
	var t trailer
	if err := next(&t); err != nil {
		return h, nil, err
	}
	if t.Blake3 != want || len(data) != h.Keys {
		return h, nil, fmt.Errorf("%w: its checksum is wrong", ErrDamaged)
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return h, nil, fmt.Errorf("%w: something follows its end", ErrDamaged)
	}
	return h, data, nil
}
