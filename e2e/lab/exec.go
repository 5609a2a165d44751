package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Cmd is a command on a lab host. It is used like the exec.Cmd inside, through the methods here.
type Cmd struct {
	*exec.Cmd
	host  string
	pid   int
	start uint64
}

// Command prepares a command on a host. It is a child of the caller (standard streams, terminal, exit status and signals are
// the usual ones) but lives in the host and dies with it. Its environment is the host's, with VZ_MASTERS as it must be inside
// the lab; its directory is the caller's.
func (l *Lab) Command(ctx context.Context, host string, argv ...string) (*Cmd, error) {
	if len(argv) == 0 {
		return nil, errors.New("no command given")
	}
	s, err := loadState(l.dir)
	if err != nil {
		return nil, err
	}
	h, err := s.host(host)
	if err != nil {
		return nil, err
	}
	if h.Kind == lanHost {
		return nil, fmt.Errorf("%w: %q", errNoHost, host)
	}
	c := &Cmd{Cmd: exec.CommandContext(ctx, argv[0], argv[1:]...), host: host, pid: h.Pid, start: h.PidStart}
	c.Env = append(hostEnv(s.Name, host), "VZ_MASTERS="+strings.Join(s.masterAddrs(), ","))
	if term, ok := os.LookupEnv("TERM"); ok {
		c.Env = append(c.Env, "TERM="+term)
	}
	c.Env = append(c.Env, s.Env...)
	c.Dir, _ = os.Getwd() // no directory: the child starts in /
	c.WaitDelay = 5 * time.Second
	return c, nil
}

// Start is exec.Cmd.Start inside the host.
func (c *Cmd) Start() error {
	pidfd, err := openPid(c.pid, c.start)
	if err != nil {
		return fmt.Errorf("host %s is off: %w", c.host, err)
	}
	defer pidfd.Close()
	if err := closeStrayOnExec(); err != nil {
		return err
	}
	return onThread(func() error {
		if err := enter(pidfd, hostNamespaces); err != nil {
			return err
		}
		return c.Cmd.Start()
	})
}

// Run is exec.Cmd.Run inside the host.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Signal sends a signal to a command that was started.
func (c *Cmd) Signal(sig os.Signal) error { return c.Process.Signal(sig) }

// Output is exec.Cmd.Output inside the host, with what the command said on standard error in the error.
func (c *Cmd) Output() ([]byte, error) {
	var out, errOut bytes.Buffer
	c.Stdout, c.Stderr = &out, &errOut
	err := c.Run()
	if err != nil {
		err = fmt.Errorf("%s: %s: %w: %s", c.host, strings.Join(c.Args, " "), err, bytes.TrimSpace(errOut.Bytes()))
	}
	return out.Bytes(), err
}

// CombinedOutput is exec.Cmd.CombinedOutput inside the host.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}

// Exec runs a command on a host to its end and returns its standard output. The error of a command that failed wraps
// *exec.ExitError.
func (l *Lab) Exec(ctx context.Context, host string, argv ...string) ([]byte, error) {
	c, err := l.Command(ctx, host, argv...)
	if err != nil {
		return nil, err
	}
	return c.Output()
}
