package lab

import (
	"strings"
	"testing"
)

func TestCutRules(t *testing.T) {
	if got := cutRules(nil); strings.Contains(got, "drop") {
		t.Errorf("a healed LAN drops frames:\n%s", got)
	}
	got := cutRules([]cut{{A: []string{"n1"}}, {A: []string{"m1", "m2"}, B: []string{"n2"}}})
	for _, want := range []string{
		`iifname { "p-n1" } drop`, `oifname { "p-n1" } drop`,
		`iifname { "p-m1", "p-m2" } oifname { "p-n2" } drop`, `iifname { "p-n2" } oifname { "p-m1", "p-m2" } drop`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if n := strings.Count(got, `iifname { "p-n1" } drop`); n != 3 {
		t.Errorf("the cut from everybody is in %d of 3 chains", n)
	}
}

func TestParseRate(t *testing.T) {
	for in, want := range map[string]uint64{"1gbit": 125e6, "100mbit": 12.5e6, "8kbit": 1e3, "2.5gbit": 312.5e6, "8000bit": 1e3, "8000": 1e3} {
		if got, err := parseRate(in); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", in, got, err, want)
		}
	}
}

func TestAddressesDiffer(t *testing.T) {
	cfg := Config{Masters: maxMasters, Nodes: maxNodes, Daemons: func(Host) []Daemon { return nil }}
	ips, macs := make(map[string]bool), make(map[string]bool)
	hosts := cfg.hosts()
	for _, h := range hosts {
		ips[h.IP] = true
		for dev := byte(0); dev < 3; dev++ {
			macs[hostMAC(h.IP, dev).String()] = true
		}
		if len(lanPort(h.Name)) > 15 {
			t.Errorf("port name %s is too long for a device", lanPort(h.Name))
		}
	}
	if len(ips) != len(hosts) || len(macs) != 3*len(hosts) {
		t.Errorf("%d hosts with %d addresses and %d hardware addresses", len(hosts), len(ips), len(macs))
	}
}
