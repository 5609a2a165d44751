package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// state is what the lab is and shall be, kept in state.json. Each change is written before it is carried out, so that Down
// finds whatever a crash left.
type state struct {
	Name       string   `json:"name"`
	KeeperArgv []string `json:"keeper_argv"`
	Env        []string `json:"env,omitempty"`
	Hosts      []Host   `json:"hosts"`
	Cuts       []cut    `json:"cuts,omitempty"`
}

// ErrNotUp is returned when there is no lab of that name.
var ErrNotUp = errors.New("the lab is not up")

func (s *state) host(name string) (*Host, error) {
	for i := range s.Hosts {
		if s.Hosts[i].Name == name {
			return &s.Hosts[i], nil
		}
	}
	return nil, fmt.Errorf("%w: %q", errNoHost, name)
}

// Names in the state directory.
const (
	logsDir  = "logs" // of the hosts' processes
	lockFile = "lock"
)

func statePath(dir string) string { return filepath.Join(dir, "state.json") }

func loadState(dir string) (*state, error) {
	data, err := os.ReadFile(statePath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: nothing in %s", ErrNotUp, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("lab state: %w", err)
	}
	s := new(state)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("lab state %s: %w", statePath(dir), err)
	}
	return s, nil
}

func (s *state) save(dir string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("lab state: %w", err)
	}
	tmp := statePath(dir) + ".tmp"
	if err := os.WriteFile(tmp, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("lab state: %w", err)
	}
	if err := os.Rename(tmp, statePath(dir)); err != nil {
		return fmt.Errorf("lab state: %w", err)
	}
	return nil
}

// lock keeps other vzlab processes from changing the lab in dir; the returned function lets them again.
func lock(dir string) (func(), error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: no %s", ErrNotUp, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("lock lab: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock lab: %w", err)
	}
	return func() { f.Close() }, nil
}

// update changes the state under the lock: fn may save in between, and what it leaves is saved even when it fails, since
// it describes what was made so far.
func (l *Lab) update(fn func(*state) error) error {
	unlock, err := lock(l.dir)
	if err != nil {
		return err
	}
	defer unlock()
	s, err := loadState(l.dir)
	if err != nil {
		return err
	}
	return errors.Join(fn(s), s.save(l.dir))
}
