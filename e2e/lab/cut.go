package lab

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// cut is a break of the LAN: each host of A hears nothing from, and says nothing to, the hosts of B; with B empty, to anybody.
type cut struct {
	A []string `json:"a"`
	B []string `json:"b,omitempty"`
}

func (c cut) String() string {
	if len(c.B) == 0 {
		return strings.Join(c.A, ",") + " from everybody"
	}
	return strings.Join(c.A, ",") + " from " + strings.Join(c.B, ",")
}

// Cut breaks the LAN, in addition to earlier cuts: between the hosts a and the hosts b in both directions, or, with b empty,
// around each host of a. It holds for the hosts' containers too. Connections are not closed, frames just do not arrive. A
// master's relay to the machine is not part of the LAN and is not cut.
func (l *Lab) Cut(ctx context.Context, a, b []string) error {
	if len(a) == 0 {
		return fmt.Errorf("cut: %w", errNoHost)
	}
	return l.update(func(s *state) error {
		for _, name := range append(append([]string(nil), a...), b...) {
			if h, err := s.host(name); err != nil {
				return err
			} else if h.Kind == lanHost {
				return fmt.Errorf("cut %s: %w", name, errNoHost)
			}
		}
		s.Cuts = append(s.Cuts, cut{A: a, B: b})
		return applyCuts(ctx, s)
	})
}

// Heal mends all cuts.
func (l *Lab) Heal(ctx context.Context) error {
	return l.update(func(s *state) error {
		s.Cuts = nil
		return applyCuts(ctx, s)
	})
}

// cutRules is the whole ruleset of the LAN's bridge. It names ports, which keep their names when a host is powered off and on.
func cutRules(cuts []cut) string {
	var b strings.Builder
	// Declared before it is deleted, so that the delete works the first time; all in one transaction.
	b.WriteString("table bridge vzlab {}\ndelete table bridge vzlab\ntable bridge vzlab {\n")
	// Frames to and from the gateway go by input and output, not by forward.
	for _, hook := range []string{"forward", "input", "output"} {
		fmt.Fprintf(&b, " chain %s {\n  type filter hook %s priority -200; policy accept;\n", hook, hook)
		for _, c := range cuts {
			a, z := ports(c.A), ports(c.B)
			if len(c.B) == 0 {
				fmt.Fprintf(&b, "  iifname %s drop\n  oifname %s drop\n", a, a)
			} else if hook == "forward" {
				fmt.Fprintf(&b, "  iifname %s oifname %s drop\n  iifname %s oifname %s drop\n", a, z, z, a)
			}
		}
		b.WriteString(" }\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func ports(hosts []string) string {
	quoted := make([]string, len(hosts))
	for i, h := range hosts {
		quoted[i] = `"` + lanPort(h) + `"`
	}
	return "{ " + strings.Join(quoted, ", ") + " }"
}

func applyCuts(ctx context.Context, s *state) error {
	h, err := s.host(lanHost)
	if err != nil {
		return err
	}
	lan, err := openNet(h)
	if err != nil {
		return err
	}
	defer lan.Close()
	return onThread(func() error {
		if err := enter(lan.pidfd, unix.CLONE_NEWNET); err != nil {
			return err
		}
		nft := exec.CommandContext(ctx, "nft", "-f", "-")
		nft.Stdin = strings.NewReader(cutRules(s.Cuts))
		if out, err := nft.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %s", err, bytes.TrimSpace(out))
		}
		return nil
	})
}
