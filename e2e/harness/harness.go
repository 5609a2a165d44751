// Package harness drives a cluster in a lab as an operator does: through bin/vzctl-cluster, with a Redis client on the client host,
// and with a look at the kernel where the cluster's own word is not enough. The demo, the e2e tests and the benchmark share it.
package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vzcluster/vzcluster/e2e/lab"
	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// Cluster is a running lab with the CLI that talks to it.
type Cluster struct {
	Lab *lab.Lab
	bin string
	env []string
	// Echo, if set, gets each command line and what it printed: the tour that the demo shows.
	Echo io.Writer
}

// BinDir finds the directory with the built binaries: VZ_BIN, or bin/ in this checkout.
func BinDir() (string, error) {
	if d := os.Getenv("VZ_BIN"); d != "" {
		return d, nil
	}
	d, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the checkout: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			break
		}
		up := filepath.Dir(d)
		if up == d {
			return "", errors.New("not inside the checkout: set VZ_BIN to the directory with the built binaries")
		}
		d = up
	}
	bin := filepath.Join(d, "bin")
	if _, err := os.Stat(filepath.Join(bin, "vznode")); err != nil {
		return "", fmt.Errorf("no binaries in bin/: run `make build` first: %w", err)
	}
	return bin, nil
}

// TemplateDir is where `make deps` keeps the templates.
func TemplateDir() string {
	if d := os.Getenv("VZ_CACHE"); d != "" {
		return filepath.Join(d, "templates")
	}
	return "/var/cache/vzcluster/templates"
}

// Up builds the lab and waits until its cluster is ready. Whoever calls it takes it down with Close.
func Up(ctx context.Context, cfg lab.Config) (*Cluster, error) {
	c, err := Boot(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := c.Lab.WaitReady(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for the cluster: %w", err), c.Lab.Down(context.WithoutCancel(ctx), true))
	}
	return c, nil
}

// Boot builds the lab and does not wait for its cluster: for labs in which not everything is to run from the start.
func Boot(ctx context.Context, cfg lab.Config) (*Cluster, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the end-to-end part needs root: it makes namespaces, mounts and cgroups; run it as root")
	}
	bin, err := BinDir()
	if err != nil {
		return nil, err
	}
	if cfg.BinDir == "" {
		cfg.BinDir = bin
	}
	l, err := lab.Up(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("lab up: %w", err)
	}
	c := &Cluster{Lab: l, bin: bin}
	if c.env, err = l.Environ(); err != nil {
		return nil, errors.Join(err, l.Down(context.WithoutCancel(ctx), true))
	}
	return c, nil
}

// Close takes the lab down and tells what it left behind, which must be nothing.
func (c *Cluster) Close(keepLogs bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := c.Lab.Down(ctx, keepLogs); err != nil {
		return err
	}
	left, err := lab.Leftovers(c.Lab.Name(), c.Lab.Dir())
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("the lab left behind: %s", strings.Join(left, "; "))
	}
	return nil
}

// Result is how one run of the CLI ended.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// CLI runs vzctl-cluster to its end. Only a CLI that could not be run at all is an error.
func (c *Cluster) CLI(ctx context.Context, args ...string) (Result, error) {
	return c.CLIInput(ctx, nil, args...)
}

// CLIInput is CLI with something on standard input.
func (c *Cluster) CLIInput(ctx context.Context, in io.Reader, args ...string) (Result, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "vzctl-cluster"), args...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &errOut
	cmd.Env = append(os.Environ(), c.env...)
	if c.Echo != nil {
		fmt.Fprintf(c.Echo, "\n$ vzctl-cluster %s\n", strings.Join(args, " "))
		cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, c.Echo), io.MultiWriter(&errOut, c.Echo)
	}
	err := cmd.Run()
	r := Result{Stdout: out.String(), Stderr: errOut.String(), Code: cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return r, fmt.Errorf("vzctl-cluster %s: %w", strings.Join(args, " "), err)
	}
	return r, nil
}

// Must runs the CLI and makes any exit code but 0 an error.
func (c *Cluster) Must(ctx context.Context, args ...string) (string, error) {
	r, err := c.CLI(ctx, args...)
	if err != nil {
		return "", err
	}
	if r.Code != 0 {
		return "", fmt.Errorf("vzctl-cluster %s: exit %d: %s", strings.Join(args, " "), r.Code, strings.TrimSpace(r.Stderr))
	}
	return r.Stdout, nil
}

// JSON runs the CLI with -j and decodes its one document into v.
func (c *Cluster) JSON(ctx context.Context, v any, args ...string) error {
	quiet := *c
	quiet.Echo = nil // a document for the program is nothing for the tour
	out, err := quiet.Must(ctx, append(args, "-j")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), v); err != nil {
		return fmt.Errorf("vzctl-cluster %s -j: %w in %.200q", strings.Join(args, " "), err, out)
	}
	return nil
}

// Container reads a container's record.
func (c *Cluster) Container(ctx context.Context, name string) (cluster.Container, error) {
	var r cluster.Container
	return r, c.JSON(ctx, &r, "show", name)
}

// Node is a node as `node list -j` shows it.
type Node struct {
	cluster.Node
	Live *cluster.NodeLive `json:"live"`
}

// Nodes lists the nodes.
func (c *Cluster) Nodes(ctx context.Context) ([]Node, error) {
	var ns []Node
	return ns, c.JSON(ctx, &ns, "node", "list")
}
