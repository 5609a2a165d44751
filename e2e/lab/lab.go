package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Lab is a lab that is up. Its methods may be used by several goroutines and processes at a time: the state directory's lock
// puts changes in a row.
type Lab struct {
	name, dir string
	ephemeral bool

	mu        sync.Mutex
	lifelines []*os.File // of ephemeral hosts: they live as long as these are open
}

// ErrIsUp is returned by Up when a lab of that name has hosts.
var ErrIsUp = errors.New("a lab of this name is up")

// Up builds a lab and powers all hosts on. It does not wait for the cluster: see WaitReady. What a lab of that name has left
// whose hosts are all dead (a crash, a reboot of the machine) is cleared away first. When Up fails, what it has made is taken
// away again, except logs.
func Up(ctx context.Context, cfg Config) (*Lab, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("a lab needs root: namespaces, mounts and cgroups")
	}
	if err := makeDir(filepath.Join(cfg.Dir, logsDir)); err != nil {
		return nil, err
	}
	unlock, err := lock(cfg.Dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	alive, err := keepers(cfg.Name)
	if err != nil {
		return nil, err
	}
	if len(alive) > 0 {
		return nil, fmt.Errorf("%w: %s has host %s as process %d; take it down first", ErrIsUp, cfg.Name, alive[0].Name, alive[0].Pid)
	}
	if err := clearAway(ctx, cfg, logsDir, lockFile); err != nil {
		return nil, err
	}
	l := &Lab{name: cfg.Name, dir: cfg.Dir, ephemeral: cfg.Ephemeral}
	if err := l.bootAll(ctx, cfg); err != nil {
		return nil, errors.Join(err, clearAway(context.WithoutCancel(ctx), cfg, logsDir))
	}
	return l, nil
}

func (l *Lab) bootAll(ctx context.Context, cfg Config) error {
	if err := l.writeCertificates(cfg); err != nil {
		return err
	}
	s := &state{Name: cfg.Name, KeeperArgv: cfg.KeeperArgv, Env: cfg.Env, Hosts: cfg.hosts()}
	for i := range s.Hosts {
		if err := ctx.Err(); err != nil {
			return err
		}
		// Before the host is made: Down and Leftovers shall find it whatever happens.
		if err := s.save(l.dir); err != nil {
			return err
		}
		if err := l.boot(s, &s.Hosts[i]); err != nil {
			return err
		}
	}
	return s.save(l.dir)
}

// makeDir is os.MkdirAll that gets along with the Down of another lab, which removes the parent when it finds it empty.
func makeDir(path string) error {
	var err error
	for range 10 {
		if err = os.MkdirAll(path, 0o755); !errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	return nil
}

// Open finds a lab that is up. With an empty dir it looks in DefaultDir.
func Open(name, dir string) (*Lab, error) {
	cfg, err := Config{Name: name, Dir: dir}.withDefaults()
	if err != nil {
		return nil, err
	}
	if _, err := loadState(cfg.Dir); err != nil {
		return nil, err
	}
	return &Lab{name: cfg.Name, dir: cfg.Dir}, nil
}

// Name returns the lab's name.
func (l *Lab) Name() string { return l.name }

// Dir returns the lab's state directory.
func (l *Lab) Dir() string { return l.dir }

// LogPath returns the log of a host's process: role is a daemon's or "keeper".
func (l *Lab) LogPath(host, role string) string { return logPath(l.dir, host, role) }

// DiskPath returns where a path below /vz on a host lies on the machine, also while the host is off.
func (l *Lab) DiskPath(host, path string) string {
	return filepath.Join(vzPath(l.dir, host), filepath.Join("/", path))
}

// Hosts lists the lab's machines.
func (l *Lab) Hosts() ([]Host, error) {
	s, err := loadState(l.dir)
	if err != nil {
		return nil, err
	}
	return s.machines(), nil
}

// machines are the hosts without the LAN.
func (s *state) machines() []Host {
	var out []Host
	for _, h := range s.Hosts {
		if h.Kind != lanHost {
			out = append(out, h)
		}
	}
	return out
}

// Start starts what does not run on a host: the daemons, or the whole host when it is powered off.
func (l *Lab) Start(host string) error {
	return l.update(func(s *state) error {
		h, err := s.host(host)
		if err != nil {
			return err
		}
		return l.boot(s, h)
	})
}

// Poweroff pulls the host's plug: all its processes and containers die at once, its /run and its network are gone, its disk
// stays. A host that is off stays so.
func (l *Lab) Poweroff(host string) error {
	return l.update(func(s *state) error {
		h, err := s.host(host)
		if err != nil {
			return err
		}
		if h.Kind == lanHost {
			return fmt.Errorf("power off %s: %w", host, errNoHost)
		}
		return l.pull(s, h)
	})
}

// Kill sends a signal to a host's daemon and to nothing else. With an empty role it is the only daemon of the host, or its master. After
// SIGKILL, SIGTERM, SIGINT and SIGQUIT the process has ended when Kill returns; one that takes longer than 15 s is an error.
func (l *Lab) Kill(host, role string, sig syscall.Signal) error {
	s, err := loadState(l.dir)
	if err != nil {
		return err
	}
	h, err := s.host(host)
	if err != nil {
		return err
	}
	if role == "" {
		role, err = h.mainRole()
		if err != nil {
			return err
		}
	}
	if !h.alive() {
		return fmt.Errorf("host %s is off: %w", host, errNotRunning)
	}
	_, err = control(l.dir, host, controlRequest{Op: "signal", Role: role, Signal: int(sig)})
	return err
}

// mainRole is the role of the host's only daemon, or of the one that the host is named for.
func (h *Host) mainRole() (string, error) {
	if len(h.Daemons) == 1 {
		return h.Daemons[0].Role, nil
	}
	for _, d := range h.Daemons {
		if d.Role == h.Kind {
			return d.Role, nil
		}
	}
	return "", fmt.Errorf("host %s runs %d daemons: say which role", h.Name, len(h.Daemons))
}

// KillNow is Kill with SIGKILL and no role.
func (l *Lab) KillNow(host string) error { return l.Kill(host, "", unix.SIGKILL) }

// SetDaemons changes what a host runs from its next start on, as an upgrade or a change of configuration does.
func (l *Lab) SetDaemons(host string, daemons ...Daemon) error {
	return l.update(func(s *state) error {
		h, err := s.host(host)
		if err != nil {
			return err
		}
		h.Daemons = daemons
		return nil
	})
}

// HostStatus is what a host does now.
type HostStatus struct {
	Host
	On        bool      `json:"on"`
	Processes []Process `json:"processes,omitempty"`
}

// Status is the state of a whole lab.
type Status struct {
	Name  string       `json:"name"`
	Dir   string       `json:"dir"`
	Hosts []HostStatus `json:"hosts"`
	Cuts  []string     `json:"cuts,omitempty"`
}

// Status asks every host.
func (l *Lab) Status() (Status, error) {
	s, err := loadState(l.dir)
	if err != nil {
		return Status{}, err
	}
	st := Status{Name: l.name, Dir: l.dir}
	for _, c := range s.Cuts {
		st.Cuts = append(st.Cuts, c.String())
	}
	for _, h := range s.machines() {
		hs := HostStatus{Host: h, On: h.alive()}
		if hs.On {
			hs.Processes, err = control(l.dir, h.Name, controlRequest{Op: "list"})
			hs.On = err == nil || h.alive() // it may have been powered off meanwhile
			if err != nil && hs.On {
				return st, err
			}
		}
		st.Hosts = append(st.Hosts, hs)
	}
	return st, nil
}

func (l *Lab) keepOpen(f *os.File) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lifelines = append(l.lifelines, f)
}
