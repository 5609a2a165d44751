package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/cgroups"
)

const (
	// freezePoll is how often the freezer's state is read: the tasks stand still meanwhile.
	freezePoll = 100 * time.Microsecond
	// freezeAgain is when a freeze that does not get on is asked for once more: v1 can stay at FREEZING for ever.
	freezeAgain = 20 * time.Millisecond
	freezeLimit = 5 * time.Second
)

// freezer is the freezer of one container's cgroup.
type freezer struct {
	dir string
	v2  bool
}

func newFreezer(m cgroups.Manager) (freezer, error) {
	if dir := m.Path("freezer"); dir != "" && !cgroups.IsCgroup2UnifiedMode() {
		return freezer{dir: dir}, nil
	}
	if dir := m.Path(""); dir != "" {
		return freezer{dir: dir, v2: true}, nil
	}
	return freezer{}, errors.New("no freezer: neither a v1 freezer hierarchy nor cgroup v2")
}

func (f freezer) file() (name, freeze, thaw string) {
	if f.v2 {
		return "cgroup.freeze", "1", "0"
	}
	return "freezer.state", "FROZEN", "THAWED"
}

func (f freezer) write(s string) error {
	name, _, _ := f.file()
	w, err := os.OpenFile(filepath.Join(f.dir, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer w.Close()
	_, err = w.WriteString(s)
	return err
}

// frozen tells whether every task stands still.
func (f freezer) frozen() (bool, error) {
	if !f.v2 {
		b, err := os.ReadFile(filepath.Join(f.dir, "freezer.state"))
		return strings.TrimSpace(string(b)) == "FROZEN", err
	}
	b, err := os.ReadFile(filepath.Join(f.dir, "cgroup.events"))
	return strings.Contains(string(b), "frozen 1"), err
}

// freeze returns when every task stands still. On failure the cgroup may be half frozen.
func (f freezer) freeze(ctx context.Context) error {
	_, on, off := f.file()
	start := time.Now()
	asked := time.Time{}
	for {
		if time.Since(asked) > freezeAgain {
			if !asked.IsZero() && !f.v2 {
				_ = f.write(off) // a task that was just forking or signalled is caught at the second try
			}
			if err := f.write(on); err != nil {
				return fmt.Errorf("freeze: %w", err)
			}
			asked = time.Now()
		}
		ok, err := f.frozen()
		if err != nil {
			return fmt.Errorf("freeze: %w", err)
		}
		if ok {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("freeze: %w", err)
		}
		if time.Since(start) > freezeLimit {
			return fmt.Errorf("freeze: some task still runs after %v", freezeLimit)
		}
		time.Sleep(freezePoll)
	}
}

// thaw lets the tasks run.
func (f freezer) thaw() error {
	_, _, off := f.file()
	if err := f.write(off); err != nil {
		return fmt.Errorf("thaw: %w", err)
	}
	return nil
}
