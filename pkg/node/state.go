package node

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// state is what the agent must never forget.
type state struct {
	mu   sync.Mutex
	path string
	MaxTerm,
	AgentStarts uint64
}

// openState reads the state below dir, and counts this start.
func openState(dir string) (*state, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &state{path: filepath.Join(dir, "agent.json")}
	raw, err := os.ReadFile(s.path)
	if err == nil {
		err = json.Unmarshal(raw, s)
	} else if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err != nil {
		// With a forgotten term it would obey a deposed leader (R5).
		return nil, fmt.Errorf("agent state %s: %w", s.path, err)
	}
	s.AgentStarts++
	return s, s.save()
}

// admit tells whether a leader of this term may be obeyed, and remembers the term, durably, before it is.
func (s *state) admit(term uint64) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if term < s.MaxTerm {
		return false, nil
	}
	if term == s.MaxTerm {
		return true, nil
	}
	s.MaxTerm = term
	return true, s.save()
}

func (s *state) maxTerm() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.MaxTerm
}

func (s *state) save() error {
	raw, err := json.Marshal(struct{ MaxTerm, AgentStarts uint64 }{s.MaxTerm, s.AgentStarts})
	if err != nil {
		return err
	}
	return writeDurably(s.path, raw)
}

// writeDurably replaces a file in one step.
func writeDurably(path string, raw []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// bootID names this boot of the host: a marker in dir, which does not survive one. Not the kernel's own, since several hosts of a lab
// share a kernel.
func bootID(dir string) (string, error) {
	path := filepath.Join(dir, "boot-id")
	raw, err := os.ReadFile(path)
	if id := strings.TrimSpace(string(raw)); err == nil && id != "" {
		return id, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return "", err
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	id := hex.EncodeToString(b[:])
	return id, writeDurably(path, []byte(id+"\n"))
}
