package harness

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vzcluster/vzcluster/e2e/lab"
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

// Gap is a time in which the client got no answer.
type Gap struct {
	MS float64   `json:"ms"`
	At time.Time `json:"at"`
}

// Summary is what the client saw on its one connection.
type Summary struct {
	Count      int64  `json:"count"` // increments answered
	First      int64  `json:"first"`
	Last       int64  `json:"last"`
	Lost       int64  `json:"lost"`
	Repeated   int64  `json:"repeated"`
	Reconnects int64  `json:"reconnects"`
	Error      string `json:"error"`
	Gaps       []Gap  `json:"gaps"` // longest first
}

func (s Summary) String() string {
	var gaps []string
	for _, g := range s.Gaps[:min(len(s.Gaps), 4)] {
		gaps = append(gaps, fmt.Sprintf("%.0f ms", g.MS))
	}
	return fmt.Sprintf("%d increments on one connection, %d lost, %d repeated; longest gaps %s", s.Count, s.Lost, s.Repeated, strings.Join(gaps, ", "))
}

// Longest returns the longest gap in milliseconds.
func (s Summary) Longest() float64 {
	if len(s.Gaps) == 0 {
		return 0
	}
	return s.Gaps[0].MS
}

// Probe is the running client.
type Probe struct {
	cmd    *lab.Cmd
	out    *bufio.Scanner
	stderr *strings.Builder
	ended  bool
}

// Probe starts the client: one connection, an increment every millisecond. It returns when the first has been answered.
func (r Redis) Probe(ctx context.Context) (*Probe, error) {
	cmd, err := r.c.Lab.Command(ctx, lab.ClientHost, filepath.Join(r.c.bin, "vzprobe"), "run", r.Addr, "--key", CounterKey, "--interval", "1ms")
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p := &Probe{cmd: cmd, out: bufio.NewScanner(out), stderr: &strings.Builder{}}
	cmd.Stderr = p.stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if !p.out.Scan() {
		return nil, fmt.Errorf("the client did not start: %w: %s", errors.Join(p.out.Err(), cmd.Wait()), p.stderr)
	}
	return p, nil
}

// Stop ends the client and returns what it saw; a connection that broke, a lost or a repeated increment is an error.
func (p *Probe) Stop() (Summary, error) {
	var s Summary
	if p.ended {
		return s, errors.New("the client has been stopped before")
	}
	p.ended = true
	// A client that has already ended on a broken connection cannot be signalled; its summary says why.
	_ = p.cmd.Process.Signal(syscall.SIGINT)
	var last string
	for p.out.Scan() {
		last = p.out.Text()
	}
	err := errors.Join(p.out.Err(), p.cmd.Wait())
	if e := json.Unmarshal([]byte(last), &s); e != nil {
		return s, fmt.Errorf("the client's summary %q: %w: %s", last, errors.Join(e, err), p.stderr)
	}
	if s.Error != "" || s.Lost != 0 || s.Repeated != 0 || s.Reconnects != 0 {
		return s, fmt.Errorf("the client saw a fault: %+v", s)
	}
	return s, err
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
