package cluster

import (
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func good() Spec {
	return Spec{Template: "debian-12", Net: Network{Addresses: []string{"10.0.0.5/24", "fd00::5/64"}, Gateway: "10.0.0.1"}}.WithDefaults()
}

func TestSpecValidate(t *testing.T) {
	if err := good().Validate(); err != nil {
		t.Fatalf("a good spec: %v", err)
	}
	for _, tc := range []struct {
		name string
		edit func(*Spec)
		what string
	}{
		{"no template", func(s *Spec) { s.Template = "" }, "template"},
		{"template path", func(s *Spec) { s.Template = "../x" }, "template"},
		{"template dots", func(s *Spec) { s.Template = "a..b" }, "template"},
		{"tiny ram", func(s *Spec) { s.Resources.MemoryBytes = 1 }, "ram"},
		{"huge ram", func(s *Spec) { s.Resources.MemoryBytes = math.MaxUint64 }, "ram"},
		{"huge disk", func(s *Spec) { s.Resources.DiskBytes = MaxBytes + 1 }, "diskspace"},
		{"huge cpus", func(s *Spec) { s.Resources.CPUMilli = math.MaxUint64 }, "cpus"},
		{"huge swap", func(s *Spec) { s.SwapBytes = math.MaxUint64 }, "swap"},
		{"cpuunits", func(s *Spec) { s.CPUUnits = MaxCPUUnits + 1 }, "cpuunits"},
		{"numproc", func(s *Spec) { s.NumProc = 1 }, "numproc"},
		{"hostname", func(s *Spec) { s.Hostname = "a\nb" }, "hostname"},
		{"hostname option", func(s *Spec) { s.Hostname = "-x" }, "hostname"},
		{"no prefix length", func(s *Spec) { s.Net.Addresses = []string{"10.0.0.5"} }, "ipadd"},
		{"same address twice", func(s *Spec) { s.Net.Addresses = []string{"10.0.0.5/24", "10.0.0.5/16"} }, "ipadd"},
		{"multicast", func(s *Spec) { s.Net.Addresses = []string{"224.0.0.1/24"} }, "ipadd"},
		{"mapped", func(s *Spec) { s.Net.Addresses = []string{"::ffff:10.0.0.1/128"} }, "ipadd"},
		{"gateway", func(s *Spec) { s.Net.Gateway = "x" }, "gateway"},
		{"nameserver", func(s *Spec) { s.Net.Nameserver = []string{"1.1.1.1\nsearch x"} }, "nameserver"},
		{"bridge", func(s *Spec) { s.Net.Bridge = "../../etc" }, "bridge"},
		{"mac", func(s *Spec) { s.Net.MAC = "01:00:00:00:00:00" }, "mac"},
		{"init", func(s *Spec) { s.Init = []string{"sh"} }, "init"},
		{"init NUL", func(s *Spec) { s.Init = []string{"/bin/sh", "a\x00b"} }, "init"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := good()
			tc.edit(&s)
			var inv *InvalidError
			if err := s.Validate(); !errors.As(err, &inv) {
				t.Fatalf("accepted, or another error: %v", err)
			}
			if inv.What != tc.what || inv.Why == "" || inv.Do == "" {
				t.Fatalf("unclear refusal: %+v", inv)
			}
			if strings.ContainsAny(inv.Error(), "\n\x00") {
				t.Fatalf("the message is not one clean line: %q", inv.Error())
			}
		})
	}
}

func TestValidateNames(t *testing.T) {
	for name, want := range map[string]bool{
		"web1": true, "a": true, "a-b": true, strings.Repeat("a", 63): true,
		"": false, "205": false, "../x": false, "a/b": false, "-a": false, "a-": false, "A": false, "a b": false, "a\n": false,
		strings.Repeat("a", 64): false, "ä": false, "a.b": false,
	} {
		if got := ValidateName(name) == nil; got != want {
			t.Errorf("ValidateName(%q): accepted %v, want %v", name, got, want)
		}
	}
	for ctid, want := range map[string]bool{
		"101": true, "2147483647": true,
		"100": false, "0": false, "0101": false, "-101": false, "2147483648": false, "99999999999999999999": false, "1e3": false, "": false,
	} {
		if got := ValidateCTID(ctid) == nil; got != want {
			t.Errorf("ValidateCTID(%q): accepted %v, want %v", ctid, got, want)
		}
	}
}

// Whatever is accepted as a name is safe as one path element and as an argument, and is never taken for a CTID.
func TestAcceptedNamesAreSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z0-9./-]{1,70}`)).Draw(t, "name")
		if ValidateName(name) == nil && (AllDigits(name) || len(name) > 63 || strings.ContainsAny(name, "/. \n\x00") || name[0] == '-') {
			t.Fatalf("accepted %q", name)
		}
		if ValidateTemplateName(name) == nil && (len(name) > 63 || strings.ContainsAny(name, "/ \n\x00") || name[0] == '.' || name[0] == '-') {
			t.Fatalf("accepted template %q", name)
		}
		if ValidateCTID(name) == nil && !AllDigits(name) {
			t.Fatalf("accepted CTID %q", name)
		}
	})
}

// Two accepted specs can be added without overflow as often as a cluster can have containers.
func TestAcceptedSizesDoNotOverflow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := good()
		s.Resources = Resources{rapid.Uint64().Draw(t, "cpu"), rapid.Uint64().Draw(t, "mem"), rapid.Uint64().Draw(t, "disk")}
		if s.Validate() != nil {
			return
		}
		const n = 10000
		for _, v := range []uint64{s.Resources.CPUMilli, s.Resources.MemoryBytes, s.Resources.DiskBytes} {
			if v > math.MaxUint64/n {
				t.Fatalf("%d times %d overflows", n, v)
			}
		}
	})
}
