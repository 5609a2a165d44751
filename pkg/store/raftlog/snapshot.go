package raftlog

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/hashicorp/raft"

	"github.com/vzcluster/vzcluster/pkg/store"
)

// A snapshot is a stream of JSON documents: a header, then each key. raft keeps a checksum over it; the count in the header
// catches a stream that ends early on its way to a follower.
type (
	header struct {
		Version int       `json:"version"`
		Rev     store.Rev `json:"rev"`
		Keys    int       `json:"keys"`
	}
	line struct {
		Key string `json:"k"`
		store.KV
	}
)

const imageVersion = 1

// image is the mirror at one revision, on its way to disk.
type image struct {
	rev  store.Rev
	data map[string]store.KV
}

// Persist implements [raft.FSMSnapshot].
func (m *image) Persist(sink raft.SnapshotSink) error {
	err := m.write(sink)
	if err != nil {
		_ = sink.Cancel() // the first error is the one that tells
		return fmt.Errorf("write the snapshot: %w", err)
	}
	return sink.Close()
}

// Release implements [raft.FSMSnapshot].
func (m *image) Release() {}

func (m *image) write(w io.Writer) error {
	buf := bufio.NewWriterSize(w, 1<<18)
	enc := json.NewEncoder(buf)
	if err := enc.Encode(header{imageVersion, m.rev, len(m.data)}); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(m.data)) {
		if err := enc.Encode(line{key, m.data[key]}); err != nil {
			return err
		}
	}
	return buf.Flush()
}

func readImage(r io.Reader) (store.Rev, map[string]store.KV, error) {
	dec := json.NewDecoder(bufio.NewReaderSize(r, 1<<18))
	var h header
	if err := dec.Decode(&h); err != nil {
		return 0, nil, fmt.Errorf("header: %w", err)
	}
	if h.Version != imageVersion {
		return 0, nil, fmt.Errorf("snapshot version %d, this binary knows %d: use a newer one", h.Version, imageVersion)
	}
	data := make(map[string]store.KV)
	for n := range h.Keys {
		var l line
		if err := dec.Decode(&l); err != nil {
			return 0, nil, fmt.Errorf("key %d of %d: %w", n+1, h.Keys, err)
		}
		data[l.Key] = l.KV
	}
	if len(data) != h.Keys {
		return 0, nil, fmt.Errorf("%d different keys, the header says %d", len(data), h.Keys)
	}
	return h.Rev, data, nil
}
