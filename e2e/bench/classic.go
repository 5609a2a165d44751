package main

import (
	"bytes"
	"context"
	_ "embed" // classic.sh
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/vzcluster/vzcluster/e2e/lab"
)

//go:embed classic.sh
var classicScript []byte

const (
	classicContainer = "classic"
	classicAddress   = "10.77.1.2"
	scriptPath       = "/vz/classic.sh" // on each host, as a person would have put it there
	receivePort      = "8731"
	// classicTimeout bounds one step: CRIU is known to hang on a damaged image.
	classicTimeout = 3 * time.Minute
)

// classic is the way by hand: classic.sh, run on the hosts.
type classic struct {
	lab      *lab.Lab
	template string // tar
	ips      map[string]string
	on       string
	lost     bool // the last move left no container
}

// newClassic puts the script on the hosts.
func newClassic(l *lab.Lab, template string) (*classic, error) {
	for _, h := range hosts {
		if err := os.WriteFile(l.DiskPath(h, strings.TrimPrefix(scriptPath, "/vz")), classicScript, 0o755); err != nil {
			return nil, fmt.Errorf("put classic.sh on %s: %w", h, err)
		}
	}
	machines, err := l.Hosts()
	if err != nil {
		return nil, err
	}
	ips := make(map[string]string)
	for _, m := range machines {
		ips[m.Name] = m.IP
	}
	return &classic{lab: l, template: template, ips: ips}, nil
}

func (*classic) name() string    { return classicName }
func (*classic) address() string { return classicAddress }
func (c *classic) host() string  { return c.on }

// command prepares classic.sh on a host; wrap, if any, comes before it.
func (c *classic) command(ctx context.Context, host string, wrap []string, args ...string) (*lab.Cmd, error) {
	cmd, err := c.lab.Command(ctx, host, append(append(wrap, scriptPath), args...)...)
	if err != nil {
		return nil, err
	}
	cmd.Dir = "/"
	cmd.Env = append(cmd.Env, "CLASSIC_CGROUP="+c.lab.CgroupParent(host))
	return cmd, nil
}

func (c *classic) run(ctx context.Context, host string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, classicTimeout)
	defer cancel()
	cmd, err := c.command(ctx, host, nil, args...)
	if err != nil {
		return "", err
	}
	out, err := cmd.Output()
	return string(out), err
}

func (c *classic) create(ctx context.Context, _ int) error {
	c.on, c.lost = hosts[0], false
	_, err := c.run(ctx, c.on, "create", classicContainer, c.template, classicAddress+netPrefix)
	return err
}

func (c *classic) move(ctx context.Context, to string) (Move, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends a receiver that nobody has called
	receiver, err := c.command(ctx, to, []string{"busybox", "nc", "-l", "-p", receivePort, "-e"}, "receive")
	if err != nil {
		return Move{}, err
	}
	var said bytes.Buffer
	receiver.Stderr = &said
	if err := receiver.Start(); err != nil {
		return Move{}, fmt.Errorf("wait for the container on %s: %w", to, err)
	}
	// The receiver may not listen yet.
	call := fmt.Sprintf("until busybox nc %s %s 2>/dev/null; do sleep 0.05; done", c.ips[to], receivePort)
	out, err := c.run(ctx, c.on, "migrate", classicContainer, c.ips[to], "bash", "-c", call)
	if err != nil {
		cancel()
	}
	received := receiver.Wait()
	var m Move
	if err == nil {
		m, err = parseClassic(out)
	}
	if err == nil && received != nil {
		err = fmt.Errorf("on %s: %w", to, received)
	}
	if err != nil {
		c.lost = true // it may still run here, but a person would have to look
		return m, fmt.Errorf("%w; the target said: %s", err, strings.TrimSpace(said.String()))
	}
	c.on = to
	return m, nil
}

func (c *classic) settle(context.Context) (bool, error) { return !c.lost, nil }

func (c *classic) destroy(ctx context.Context) error {
	var errs []error
	for _, h := range hosts {
		_, err := c.run(ctx, h, "destroy", classicContainer)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
