package migrate

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate/rootsync"
	"github.com/zeebo/blake3"
)

// File is one file of CRIU's images or of the console in a manifest.
type File struct {
	Set    string `json:"set"` // SetImages or SetConsole
	Name   string `json:"name"`
	Size   uint64 `json:"size"`
	Digest string `json:"digest"` // blake3, hex
}

// The sets of files that travel beside the root.
const (
	SetImages  = "images"
	SetConsole = "console"
)

// Manifest names everything that an attempt carried. CRIU restores damaged images without a word, so nothing is restored before all
// of it has been compared. The manifest's own digest goes with both votes (R4).
type Manifest struct {
	Version   int           `json:"version"`
	Migration string        `json:"migration"`
	CTID      string        `json:"ctid"`
	Epoch     cluster.Epoch `json:"epoch"`
	Source    string        `json:"source"`
	Target    string        `json:"target"`
	Rootfs    rootsync.Sum  `json:"rootfs"`
	Files     []File        `json:"files"`
}

const manifestVersion = 1

// Encode returns the canonical bytes and their digest.
func (m *Manifest) Encode() (body []byte, digest string, err error) {
	if body, err = json.Marshal(m); err != nil {
		return nil, "", fmt.Errorf("manifest: %w", err)
	}
	return body, DigestOf(body), nil
}

// DigestOf is the digest that votes carry: blake3 of a manifest's canonical bytes, hex.
func DigestOf(body []byte) string {
	sum := blake3.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// DecodeManifest reads a manifest; unknown fields are refused, since what is not understood can't be verified.
func DecodeManifest(body []byte) (*Manifest, error) {
	var m Manifest
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if d.More() {
		return nil, errors.New("manifest: something behind its end")
	}
	if m.Version != manifestVersion {
		return nil, fmt.Errorf("manifest: version %d is not known", m.Version)
	}
	return &m, nil
}

// verify compares what the source says it sent with what arrived here.
func (m *Manifest) verify(a Attempt, target string, root rootsync.Sum, files []File) error {
	switch {
	case m.Migration != a.ID || m.CTID != a.Container.CTID || m.Epoch != a.Epoch:
		return fmt.Errorf("manifest of migration %s, container %s, epoch %d", m.Migration, m.CTID, m.Epoch)
	case m.Source != a.Container.Node || m.Target != target:
		return fmt.Errorf("manifest of a migration from %s to %s", m.Source, m.Target)
	case m.Rootfs != root:
		return fmt.Errorf("root file system differs from what was sent: %d entries, %d bytes sent; %d, %d received", m.Rootfs.Entries, m.Rootfs.Bytes, root.Entries, root.Bytes)
	case len(m.Files) != len(files):
		return fmt.Errorf("%d files were sent, %d arrived", len(m.Files), len(files))
	}
	for _, f := range files {
		i := slices.IndexFunc(m.Files, func(o File) bool { return o.Set == f.Set && o.Name == f.Name })
		if i < 0 || m.Files[i] != f {
			return fmt.Errorf("%s/%s differs from what was sent", f.Set, f.Name)
		}
	}
	return nil
}
