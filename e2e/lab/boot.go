package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// keeperTimeout is how long a new keeper may take to set its host up.
const keeperTimeout = 20 * time.Second

// boot powers a host on: keeper, links, daemons. The state is saved before and after each thing is made.
func (l *Lab) boot(s *state, h *Host) error {
	if h.alive() {
		return l.startDaemons(h)
	}
	pid, start, err := l.spawnKeeper(s, h)
	if err != nil {
		return fmt.Errorf("host %s: %w", h.Name, err)
	}
	h.Pid, h.PidStart = pid, start
	if err := s.save(l.dir); err != nil {
		return err
	}
	if h.Kind == lanHost {
		err = setUpLAN(s, h)
	} else {
		err = plugIn(s, h)
	}
	if err != nil {
		return fmt.Errorf("host %s: %w", h.Name, err)
	}
	return l.startDaemons(h)
}

func (l *Lab) startDaemons(h *Host) error {
	for _, d := range h.Daemons {
		if _, err := control(l.dir, h.Name, controlRequest{Op: "start", Daemon: d}); err != nil {
			return err
		}
	}
	return nil
}

// alive tells whether the host is powered on.
func (h *Host) alive() bool {
	f, err := openPid(h.Pid, h.PidStart)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// spawnKeeper starts the host's pid 1 in new namespaces and waits until it is set up.
func (l *Lab) spawnKeeper(s *state, h *Host) (pid int, start uint64, err error) {
	if err := closeStrayOnExec(); err != nil {
		return 0, 0, err
	}
	spec := keeperSpec{Lab: s.Name, Dir: l.dir, Host: h.Name, Env: s.Env, OwnRoot: h.Kind != lanHost, Hosts: map[string]string{"gateway": Gateway}}
	for _, o := range s.Hosts {
		if o.Kind != lanHost {
			spec.Hosts[o.Name] = o.IP
		}
	}
	if h.Kind == RoleMaster {
		spec.Relay = net.JoinHostPort(h.IP, strconv.Itoa(MasterAPIPort))
	}
	if err := os.MkdirAll(vzPath(l.dir, h.Name), 0o755); err != nil {
		return 0, 0, err
	}
	specR, specW, err := os.Pipe()
	if err != nil {
		return 0, 0, err
	}
	defer specR.Close()
	statusR, statusW, err := os.Pipe()
	if err != nil {
		return 0, 0, errors.Join(err, specW.Close())
	}
	defer statusR.Close()
	defer statusW.Close()
	log, err := os.OpenFile(logPath(l.dir, h.Name, "keeper"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return 0, 0, errors.Join(err, specW.Close())
	}
	defer log.Close()

	// The names on the command line are how Down and Leftovers know a keeper that no state file tells of.
	argv := slices.Concat(s.KeeperArgv, []string{keeperMark(s.Name), h.Name})
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = hostEnv(s.Name, h.Name)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{specR, statusW}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWPID}
	if spec.OwnRoot {
		cmd.SysProcAttr.Cloneflags = hostNamespaces
	}
	if err := cmd.Start(); err != nil {
		return 0, 0, errors.Join(fmt.Errorf("start keeper: %w", err), specW.Close())
	}
	go cmd.Wait() //nolint:errcheck // only so that it is no zombie of ours; who needs its end looks at its pidfd
	statusW.Close()
	defer func() {
		if err != nil {
			specW.Close() // the keeper ends with it
			cmd.Process.Kill()
		}
	}()
	if err := json.NewEncoder(specW).Encode(spec); err != nil {
		return 0, 0, fmt.Errorf("brief keeper: %w", err)
	}
	statusR.SetReadDeadline(time.Now().Add(keeperTimeout)) //nolint:errcheck // pipes have deadlines
	answer, err := io.ReadAll(statusR)
	if err != nil {
		return 0, 0, fmt.Errorf("wait for keeper: %w", err)
	}
	if string(answer) != keeperReady {
		return 0, 0, fmt.Errorf("keeper: %q", answer)
	}
	start, err = procStart(cmd.Process.Pid)
	if err != nil {
		return 0, 0, fmt.Errorf("keeper is gone: %w", err)
	}
	if l.ephemeral {
		l.keepOpen(specW)
		return cmd.Process.Pid, start, nil
	}
	if _, err := specW.Write([]byte{keeperStay}); err != nil {
		return 0, 0, fmt.Errorf("keeper is gone: %w", err)
	}
	return cmd.Process.Pid, start, specW.Close()
}

// powerTimeout is how long the processes of a host may take to die after the plug was pulled.
const powerTimeout = 30 * time.Second

// pull powers a host off as if its plug had been pulled, and takes away what a dead machine would not have left.
func (l *Lab) pull(s *state, h *Host) error {
	if err := killHost(s.Name, h); err != nil {
		return fmt.Errorf("host %s: %w", h.Name, err)
	}
	h.Pid, h.PidStart = 0, 0
	// The kernel takes the link away with the namespace, but later; a host that starts again needs the name.
	if h.Kind != lanHost {
		if err := unplug(s, h); err != nil {
			return fmt.Errorf("host %s: %w", h.Name, err)
		}
	}
	return removeCgroups(cgroupName(s.Name) + "/" + h.Name)
}

// killHost kills the host's pid 1, and so every process of it, and waits until all are gone.
func killHost(lab string, h *Host) error {
	pidfd, err := openPid(h.Pid, h.PidStart)
	if errors.Is(err, errGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer pidfd.Close()
	if err := unix.PidfdSendSignal(int(pidfd.Fd()), unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill: %w", err)
	}
	for deadline := time.Now().Add(powerTimeout); time.Now().Before(deadline); {
		// pid 1 ends after the last other process. A frozen one (cgroup v1) dies only when it is thawed; it is killed
		// before, so it never gets to run.
		gone, err := waitPid(pidfd, 20*time.Millisecond)
		if err != nil || gone {
			return err
		}
		if err := killCgroups(cgroupName(lab) + "/" + h.Name); err != nil {
			return err
		}
	}
	return fmt.Errorf("processes are still there %s after SIGKILL", powerTimeout)
}
