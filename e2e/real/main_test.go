package real

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/e2e/harness"
	"github.com/vzcluster/vzcluster/e2e/lab"
	"github.com/vzcluster/vzcluster/e2e/redisprobe"
)

// c is the lab's cluster, shared by all tests.
var c *harness.Cluster

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e/real:", err)
		if code == 0 {
			code = 1
		}
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	c, err = harness.Up(ctx, lab.Config{Name: "e2e", Masters: 3, Nodes: 3, Ephemeral: true})
	if err != nil {
		return 1, err
	}
	defer func() {
		if closeErr := c.Close(code != 0 || err != nil); err == nil {
			err = closeErr // leftovers are a failure of the product
		}
	}()
	for _, t := range []string{"debian-redis", "busybox"} {
		if _, err := c.Must(ctx, "template", "import", t, filepath.Join(harness.TemplateDir(), t+".tar")); err != nil {
			return 1, err
		}
	}
	return m.Run(), nil
}

// testContext ends a test's commands before the package's time-out does.
func testContext(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

// must is for steps that are not what the test is about.
func must(t *testing.T, ctx context.Context, args ...string) string {
	t.Helper()
	out, err := c.Must(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// redis makes a Redis container with an address, runs it, and fills it; it is destroyed when the test ends.
func redis(t *testing.T, ctx context.Context, name, ip string, on string, mib int) harness.Redis {
	t.Helper()
	r, err := c.Redis(ctx, name, ip, on, mib)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := c.Must(ctx, "destroy", name, "--force", "--yes"); err != nil {
			t.Errorf("destroy after the test: %v", err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// watch starts the client whose connection must live through the rest of the test.
func watch(t *testing.T, ctx context.Context, r harness.Redis) *harness.Probe {
	t.Helper()
	p, err := r.Probe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// alive ends the client and asserts that its one connection lived and lost nothing.
func alive(t *testing.T, p *harness.Probe) redisprobe.Summary {
	t.Helper()
	s, err := p.Stop()
	if err != nil {
		t.Fatalf("the client: %v", err)
	}
	t.Logf("client: %s", s)
	if s.Count < 100 {
		t.Errorf("only %d increments: the client hardly ran", s.Count)
	}
	return s
}

// oneCopy asserts that exactly one copy runs and returns where.
func oneCopy(t *testing.T, ctx context.Context, name string, within time.Duration) string {
	t.Helper()
	node, err := c.OneCopy(ctx, name, within)
	if err != nil {
		t.Fatal(err)
	}
	return node
}

// other returns a node that is not the named one.
func other(node string, nth int) string {
	var left []string
	for _, n := range []string{"n1", "n2", "n3"} {
		if n != node {
			left = append(left, n)
		}
	}
	return left[nth%len(left)]
}
