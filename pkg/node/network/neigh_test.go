package network

import (
	"context"
	"os"
	"testing"

	"github.com/vishvananda/netns"
)

// TestUnpluggedAsksInHaste: what a restored socket says before its device is plugged in must not wait for a second.
func TestUnpluggedAsksInHaste(t *testing.T) {
	c, pid := bridged(t)
	ns, err := netns.GetFromPid(pid)
	must(t, err)
	defer ns.Close()
	pace := func(device string) (v string) {
		must(t, within(ns, func() error {
			b, err := os.ReadFile(neighPath("ipv4", device, "retrans_time_ms"))
			v = string(b)
			return err
		}))
		return v
	}
	must(t, Attach(context.Background(), c, pid))
	usual := pace(untouched)
	if got := pace(guestName); got != usual {
		t.Errorf("a plugged device asks every %q ms, want %q", got, usual)
	}
	c.Unplugged = true
	must(t, Attach(context.Background(), c, pid))
	if got := pace(guestName); got != "20\n" {
		t.Errorf("an unplugged device asks every %q ms", got)
	}
	must(t, Plug(c))
	must(t, Calm(pid))
	must(t, Calm(pid))
	if got := pace(guestName); got != usual {
		t.Errorf("a calmed device asks every %q ms, want %q", got, usual)
	}
	must(t, Detach(c.Host))
	must(t, Calm(pid))
}
