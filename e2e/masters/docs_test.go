package masters

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/e2e/harness"
	"github.com/vzcluster/vzcluster/e2e/lab"
)

// docCommand is one command of docs/masters.md.
type docCommand struct {
	line  int
	host  string
	text  string
	typed string // what the reader is told to type when it asks
}

// readDoc takes the commands out of the blocks marked console.
func readDoc(t *testing.T, path string) []docCommand {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []docCommand
	inside := false
	for i, line := range strings.Split(string(b), "\n") {
		switch host, text, ok := strings.Cut(line, "# "); {
		case strings.HasPrefix(line, "```"):
			inside = line == "```console"
		case !inside:
		case strings.HasPrefix(line, "> ") && len(out) > 0:
			out[len(out)-1].typed += strings.TrimPrefix(line, "> ") + "\n"
		case ok && host != "" && !strings.Contains(host, " "):
			out = append(out, docCommand{line: i + 1, host: host, text: text})
		default:
			t.Errorf("%s:%d: neither HOST# COMMAND nor > INPUT: %q", path, i+1, line)
		}
	}
	return out
}

// TestDocs runs every command of docs/masters.md, in the order of the text, on the hosts that it names. What begins with vzmaster and
// a flag is a service of that host; systemctl is the lab.
func TestDocs(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Minute)
	defer cancel()
	commands := readDoc(t, "../../docs/masters.md")
	if len(commands) < 20 {
		t.Fatalf("only %d commands found", len(commands))
	}
	c := bring(t, lab.Config{Name: "masters-docs", Masters: 5, Daemons: func(lab.Host) []lab.Daemon { return nil }}, harness.Boot)
	for _, cmd := range commands {
		limit, stop := context.WithTimeout(ctx, 2*time.Minute)
		out, err := runDoc(limit, c, cmd)
		stop()
		if err != nil {
			t.Fatalf("docs/masters.md:%d: %s# %s: %v\n%s", cmd.line, cmd.host, cmd.text, err, out)
		}
		if testing.Verbose() {
			t.Logf("%s# %s\n%s", cmd.host, cmd.text, out)
		}
	}
}

func runDoc(ctx context.Context, c *harness.Cluster, cmd docCommand) (string, error) {
	bin := filepath.Dir(c.Program())
	switch {
	case strings.HasPrefix(cmd.text, "vzmaster --"):
		argv := strings.Fields(cmd.text)
		argv[0] = filepath.Join(bin, argv[0])
		if err := c.Lab.SetDaemons(cmd.host, lab.Daemon{Role: lab.RoleMaster, Argv: argv}); err != nil {
			return "", err
		}
		return "", c.Lab.Start(cmd.host)
	case cmd.text == "systemctl start vzmaster":
		return "", c.Lab.Start(cmd.host)
	case cmd.text == "systemctl stop vzmaster":
		return "", stopMaster(c, cmd.host)
	}
	p, err := c.Lab.Command(ctx, cmd.host, "/bin/sh", "-c", cmd.text)
	if err != nil {
		return "", err
	}
	p.Env = append(p.Env, fmt.Sprintf("PATH=%s:%s", bin, os.Getenv("PATH")))
	p.Stdin = strings.NewReader(cmd.typed)
	out, err := p.CombinedOutput()
	return string(out), err
}

// stopMaster stops a host's master; one that has ended by itself is stopped.
func stopMaster(c *harness.Cluster, host string) error {
	st, err := c.Lab.Status()
	if err != nil {
		return err
	}
	for _, h := range st.Hosts {
		if h.Name != host {
			continue
		}
		for _, p := range h.Processes {
			if p.Role == lab.RoleMaster && p.Running {
				return c.Lab.Kill(host, lab.RoleMaster, syscall.SIGTERM)
			}
		}
	}
	return nil
}
