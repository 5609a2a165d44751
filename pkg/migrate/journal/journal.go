// Package journal keeps the steps of one migration attempt on disk: one file per attempt, records appended and synced before the step
// that they announce is taken.
//
// File: 8 bytes magic, then records of
//
//	length  uint32  of the payload, little endian
//	check   uint32  CRC-32C of the length field
//	check   uint32  CRC-32C of the payload
//	payload JSON of Record
//	end     '\n'    so that a record whose last block was never written can be told from a damaged one
//
// A torn tail (the machine died while a record was written, so nobody acted on it) is cut off when the file is opened. Damage
// anywhere else is a *CorruptError: the agent must not guess which steps were taken.
package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// MaxRecord is how long one record's payload may be, in bytes.
const MaxRecord = 1 << 20

// Record is one durable step.
type Record struct {
	Step string          `json:"step"`
	At   time.Time       `json:"at"`
	Data json.RawMessage `json:"data,omitempty"`
}

// CorruptError says that a journal is damaged at a place where no crash can have damaged it. An operator has to look.
type CorruptError struct {
	Path   string
	Offset int64
	Why    string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("JOURNAL_CORRUPT: %s: at byte %d: %s", e.Path, e.Offset, e.Why)
}

// Journal is an open journal. It is not safe for concurrent use.
type Journal struct {
	f    *os.File
	path string
	err  error // sticky: after a failed write or sync nobody knows what is on disk
}

// Open opens or creates the journal and returns the records it holds. A torn tail is removed, durably, first.
func Open(path string) (*Journal, []Record, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	recs, err := salvage(f, path)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return &Journal{f: f, path: path}, recs, nil
}

func salvage(f *os.File, path string) ([]Record, error) {
	raw, err := readAll(f)
	if err != nil {
		return nil, err
	}
	recs, good, err := Decode(raw)
	if err != nil {
		var c *CorruptError
		if errors.As(err, &c) {
			c.Path = path
		}
		return nil, err
	}
	if good == 0 {
		if err := f.Truncate(0); err != nil {
			return nil, err
		}
		if _, err := f.WriteAt([]byte(magic), 0); err != nil {
			return nil, err
		}
		good = int64(len(magic))
	} else if good < int64(len(raw)) {
		if err := f.Truncate(good); err != nil {
			return nil, err
		}
	}
	if _, err := f.Seek(good, 0); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	return recs, syncDir(filepath.Dir(path))
}

func readAll(f *os.File) ([]byte, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() > 64*MaxRecord {
		return nil, &CorruptError{Path: f.Name(), Why: fmt.Sprintf("%d bytes are no journal of ours", st.Size())}
	}
	raw := make([]byte, st.Size())
	n, err := f.ReadAt(raw, 0)
	if int64(n) == st.Size() {
		return raw, nil
	}
	return nil, err
}

// Append makes a step durable. When it returns nil, the record survives a power loss; only then may the step be taken.
// After an error the journal takes no more records: the kernel may have dropped the page, and a second sync would lie.
func (j *Journal) Append(step string, data any) error {
	if j.err != nil {
		return j.err
	}
	rec := Record{Step: step, At: time.Now().UTC()}
	if data != nil {
		raw, err := json.Marshal(data)
		if err != nil {
			return fmt.Errorf("journal %s: %w", step, err)
		}
		rec.Data = raw
	}
	raw, err := encode(rec)
	if err != nil {
		return fmt.Errorf("journal %s: %w", step, err)
	}
	if _, err = j.f.Write(raw); err == nil {
		err = j.f.Sync()
	}
	if err != nil {
		j.err = fmt.Errorf("journal %s: %w", step, err)
	}
	return j.err
}

// Close closes the file. Everything appended is already durable.
func (j *Journal) Close() error { return j.f.Close() }

// Remove closes the journal and removes its file, durably: the attempt is over and nobody will ask again.
func (j *Journal) Remove() error {
	j.f.Close()
	if err := os.Remove(j.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return syncDir(filepath.Dir(j.path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
