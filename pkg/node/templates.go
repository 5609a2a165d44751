package node

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/vzcluster/vzcluster/proto/vzpb"
	"github.com/zeebo/blake3"
)

// MaxTemplate is how large a template may be, in bytes.
const MaxTemplate = 16 << 30

var digestRE = regexp.MustCompile(`^[0-9a-f]{64}$`)

// fetch is a template that is being brought here.
type fetch struct{ peers []string }

func (a *Agent) templatePath(digest string) string {
	return filepath.Join(a.templateDir(), digest+".tar")
}

// openTemplates lists what is here, and clears away what was half written.
func (a *Agent) openTemplates() error {
	if err := os.MkdirAll(a.templateDir(), 0o755); err != nil {
		return err
	}
	list, err := os.ReadDir(a.templateDir())
	if err != nil {
		return err
	}
	for _, e := range list {
		digest, isTar := strings.CutSuffix(e.Name(), ".tar")
		switch {
		case isTar && digestRE.MatchString(digest):
			a.templates[digest] = true
		case strings.HasPrefix(e.Name(), ".incoming-"):
			if err := os.RemoveAll(filepath.Join(a.templateDir(), e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// wantTemplates begins to fetch what is wanted and not here. Called with mu held.
func (a *Agent) wantTemplates(list []*vzpb.TemplateWant) {
	for _, w := range list {
		if a.templates[w.Digest] || !digestRE.MatchString(w.Digest) || len(w.Peers) == 0 {
			continue
		}
		if f := a.fetching[w.Digest]; f != nil {
			f.peers = w.Peers
			continue
		}
		f := &fetch{w.Peers}
		a.fetching[w.Digest] = f
		a.tasks.Go(func() error {
			a.fetchTemplate(w.Digest, w.Size, f)
			return nil
		})
	}
}

// fetchTemplate tries one peer after the other. If none can give it, the next directive that still wants it begins anew.
func (a *Agent) fetchTemplate(digest string, size uint64, f *fetch) {
	a.mu.Lock()
	peers := f.peers
	a.mu.Unlock()
	var errs []error
	for _, peer := range peers {
		err := a.fetchFrom(peer, digest, size)
		if err == nil {
			errs = nil
			break
		}
		errs = append(errs, fmt.Errorf("%s: %w", peer, err))
		if a.ctx.Err() != nil {
			return
		}
	}
	if err := errors.Join(errs...); err != nil {
		a.log.Error("fetch template", "digest", digest, "err", err)
		_ = sleepJitter(a.ctx, 2*time.Second)
	}
	a.mu.Lock()
	delete(a.fetching, digest)
	a.mu.Unlock()
	a.wake()
	a.reconcile()
}

func (a *Agent) fetchFrom(peer, digest string, size uint64) error {
	conn, err := a.cfg.Dial(peer)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(a.ctx)
	defer cancel()
	stream, err := vzpb.NewNodeClient(conn).GetTemplate(ctx, &vzpb.GetTemplateRequest{Digest: digest})
	if err != nil {
		return err
	}
	in, err := a.newIncoming()
	if err != nil {
		return err
	}
	defer in.discard()
	for {
		c, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if in.size+uint64(len(c.Data)) > size {
			return fmt.Errorf("more than the %d bytes that the template has", size)
		}
		if err := in.write(c.Data); err != nil {
			return err
		}
	}
	if got := in.digest(); got != digest {
		return fmt.Errorf("its content has the digest %s", got)
	}
	return in.keep()
}

// incoming is a template that is being written.
type incoming struct {
	a    *Agent
	f    *os.File
	h    *blake3.Hasher
	size uint64
	kept bool
}

func (a *Agent) newIncoming() (*incoming, error) {
	f, err := os.CreateTemp(a.templateDir(), ".incoming-")
	if err != nil {
		return nil, err
	}
	return &incoming{a: a, f: f, h: blake3.New()}, nil
}

func (in *incoming) write(p []byte) error {
	_, _ = in.h.Write(p) // a hasher never fails
	in.size += uint64(len(p))
	_, err := in.f.Write(p)
	return err
}

func (in *incoming) digest() string { return hex.EncodeToString(in.h.Sum(nil)) }

// keep gives it its name, durably, and has it reported.
func (in *incoming) keep() error {
	digest := in.digest()
	path := in.a.templatePath(digest)
	if err := in.f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(in.f.Name(), path); err != nil {
		return err
	}
	in.kept = true
	d, err := os.Open(in.a.templateDir())
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return err
	}
	in.a.mu.Lock()
	in.a.templates[digest] = true
	in.a.mu.Unlock()
	in.a.wake()
	return nil
}

func (in *incoming) discard() {
	in.f.Close()
	if !in.kept {
		os.Remove(in.f.Name())
	}
}
