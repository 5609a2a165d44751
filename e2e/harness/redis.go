package harness

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vzcluster/vzcluster/e2e/lab"
	"github.com/vzcluster/vzcluster/e2e/redisprobe"
)

// Redis is a container that runs one.
type Redis struct {
	c    *Cluster
	Name string
	Addr string // host:port as the client host reaches it
}

// CounterKey is what the probe increments; DigestWithoutCounter leaves it out.
const CounterKey = "vzprobe"

// Program is the path of the CLI.
func (c *Cluster) Program() string { return filepath.Join(c.bin, "vzctl-cluster") }

// Redis creates a container from the Debian template with an address, starts it, and fills it with mib MiB of data. With an empty
// node the scheduler places it.
func (c *Cluster) Redis(ctx context.Context, name, ip, node string, mib int) (Redis, error) {
	r := Redis{c: c, Name: name, Addr: ip + ":6379"}
	args := []string{"create", name, "--ostemplate", "debian-redis", "--ram", strconv.Itoa(256+2*mib) + "M", "--ipadd", ip + "/16"}
	if node != "" {
		args = append(args, "--on", node)
	}
	if _, err := c.Must(ctx, args...); err != nil {
		return r, err
	}
	if _, err := c.Must(ctx, "start", name); err != nil {
		return r, err
	}
	return r, r.Fill(ctx, mib)
}

// probe runs vzprobe on the client host to its end.
func (r Redis) probe(ctx context.Context, args ...string) (string, error) {
	out, err := r.c.Lab.Exec(ctx, lab.ClientHost, append([]string{filepath.Join(r.c.bin, "vzprobe")}, args...)...)
	return strings.TrimSpace(string(out)), err
}

// Fill waits until Redis answers and puts mib MiB of data into it.
func (r Redis) Fill(ctx context.Context, mib int) error {
	if _, err := r.probe(ctx, "wait", r.Addr, "--for", "1m"); err != nil {
		return err
	}
	_, err := r.probe(ctx, "fill", r.Addr, "--mib", strconv.Itoa(mib))
	return err
}

// Digest returns DEBUG DIGEST of all data.
func (r Redis) Digest(ctx context.Context) (string, error) {
	return r.probe(ctx, "digest", r.Addr)
}

// DigestWithoutCounter removes the probe's counter and returns DEBUG DIGEST of the rest.
func (r Redis) DigestWithoutCounter(ctx context.Context) (string, error) {
	return r.probe(ctx, "digest", r.Addr, "--without", CounterKey)
}

// Probe is the running client.
type Probe struct {
	remote *redisprobe.Remote
	cmd    *lab.Cmd
	ended  bool
}

// Probe starts the client: one connection, an increment every millisecond. It returns when the connection stands.
func (r Redis) Probe(ctx context.Context) (*Probe, error) {
	cmd, err := r.c.Lab.Command(ctx, lab.ClientHost, filepath.Join(r.c.bin, "vzprobe"), "run", r.Addr, "--key", CounterKey, "--interval", "1ms")
	if err != nil {
		return nil, err
	}
	remote, err := redisprobe.StartRemote(cmd)
	if err != nil {
		return nil, err
	}
	return &Probe{remote: remote, cmd: cmd}, nil
}

// Stop ends the client and returns what it saw; a connection that broke, a lost or a repeated increment is an error.
func (p *Probe) Stop() (redisprobe.Summary, error) {
	if p.ended {
		return redisprobe.Summary{}, errors.New("the client has been stopped before")
	}
	p.ended = true
	s, err := p.remote.Stop()
	if err != nil {
		return s, err
	}
	return s, s.Err()
}

// Kill ends the client without asking what it saw; nothing if it has ended.
func (p *Probe) Kill() {
	if p.ended {
		return
	}
	p.ended = true
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}
