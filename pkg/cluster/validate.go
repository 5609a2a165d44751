package cluster

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// InvalidError says what of a request can't be taken, why, and what to do about it. Nothing was changed.
type InvalidError struct {
	What string // the field, by the name that the operator knows
	Got  string // the value as given
	Why  string
	Do   string
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("%s %s: %s; %s", e.What, strconv.Quote(clip(e.Got)), e.Why, e.Do)
}

// clip keeps an absurdly long value from filling the operator's screen.
func clip(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:77]) + "..."
	}
	return s
}

// Bounds of what a container may ask for. The upper ones are there to catch typing errors and arithmetic overflow, not to limit.
const (
	MinCTID     = 101 // below are the numbers that OpenVZ keeps for itself
	MaxCTID     = 1<<31 - 1
	MinMemory   = 4 << 20 // bytes
	MinDisk     = 1 << 20 // bytes
	MaxBytes    = 1 << 50 // bytes
	MaxCPUMilli = 1 << 22 // thousandths of a CPU: 4194 CPUs
	MaxCPUUnits = 500000  // as in OpenVZ
	MaxNumProc  = 1 << 22 // the kernel's pid_max
	MinNumProc  = 8
	maxAddrs    = 64
	maxArgs     = 256
	maxArgBytes = 4096
)

// Defaults of a container's spec: what [Spec.WithDefaults] fills in.
const (
	DefaultMemory   = 512 << 20 // bytes
	DefaultDisk     = 2 << 30   // bytes
	DefaultCPUMilli = 1000
)

var (
	nameRE     = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	templateRE = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)
	hostnameRE = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)
	ifnameRE   = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,14}$`)
	opKeyRE    = regexp.MustCompile(`^[a-zA-Z0-9._:-]{1,128}$`)
)

const nameRule = "use 1 to 63 of a-z, 0-9 and '-', with a letter or digit at both ends"

// AllDigits tells whether name is meant as a CTID and not as a name.
func AllDigits(name string) bool {
	return name != "" && strings.Trim(name, "0123456789") == ""
}

// ValidateCTID checks a CTID as given by an operator.
func ValidateCTID(ctid string) error {
	n, err := strconv.ParseUint(ctid, 10, 64)
	if err != nil || n < MinCTID || n > MaxCTID || strconv.FormatUint(n, 10) != ctid {
		return &InvalidError{"CTID", ctid, "not a container number", fmt.Sprintf("use a number from %d to %d, without leading zeros", MinCTID, MaxCTID)}
	}
	return nil
}

// ValidateName checks the name of a container.
func ValidateName(name string) error {
	if AllDigits(name) {
		return &InvalidError{"name", name, "a name of digits only would be taken for a CTID", "put a letter into it"}
	}
	if !nameRE.MatchString(name) {
		return &InvalidError{"name", name, "not a container name", nameRule}
	}
	return nil
}

// ValidateNodeName checks the name of a node.
func ValidateNodeName(name string) error {
	if !nameRE.MatchString(name) {
		return &InvalidError{"node", name, "not a node name", nameRule}
	}
	return nil
}

// ValidateTemplateName checks the name of a template.
func ValidateTemplateName(name string) error {
	if !templateRE.MatchString(name) || strings.Contains(name, "..") {
		return &InvalidError{"template", name, "not a template name", "use 1 to 63 of a-z, 0-9, '.', '_' and '-', with a letter or digit at both ends"}
	}
	return nil
}

// ValidateOpKey checks a client's operation key.
func ValidateOpKey(key string) error {
	if !opKeyRE.MatchString(key) {
		return &InvalidError{"operation key", key, "every change needs a key of 1 to 128 of a-z, A-Z, 0-9 and '._:-'", "send a fresh UUID"}
	}
	return nil
}

// WithDefaults returns the spec with what was left out filled in.
func (s Spec) WithDefaults() Spec {
	def := func(p *uint64, v uint64) {
		if *p == 0 {
			*p = v
		}
	}
	def(&s.Resources.MemoryBytes, DefaultMemory)
	def(&s.Resources.DiskBytes, DefaultDisk)
	def(&s.Resources.CPUMilli, DefaultCPUMilli)
	return s
}

// Validate checks everything in the spec that can be checked without knowing the cluster. The error is an [InvalidError].
func (s Spec) Validate() error {
	if s.Template == "" {
		return &InvalidError{"template", "", "none given", "name one (--ostemplate NAME; 'template list' shows them)"}
	}
	if err := ValidateTemplateName(s.Template); err != nil {
		return err
	}
	if s.Hostname != "" && (len(s.Hostname) > 64 || !hostnameRE.MatchString(s.Hostname)) {
		return &InvalidError{"hostname", s.Hostname, "not a host name", "use labels of a-z, A-Z, 0-9 and '-', joined by dots, at most 64 characters"}
	}
	if err := s.validateSizes(); err != nil {
		return err
	}
	if err := s.Net.validate(); err != nil {
		return err
	}
	return validateInit(s.Init)
}

// validateSizes checks every amount.
func (s Spec) validateSizes() error {
	for _, f := range []struct {
		what     string
		v        uint64
		min, max uint64
		zero     bool // 0 is a value of its own
		unit, do string
	}{
		{"ram", s.Resources.MemoryBytes, MinMemory, MaxBytes, false, "bytes", "for example --ram 512M"},
		{"diskspace", s.Resources.DiskBytes, MinDisk, MaxBytes, false, "bytes", "for example --diskspace 10G"},
		{"cpus", s.Resources.CPUMilli, 1, MaxCPUMilli, false, "thousandths of a CPU", "for example --cpus 1"},
		{"swap", s.SwapBytes, 0, MaxBytes, true, "bytes", "for example --swap 512M"},
		{"cpuunits", s.CPUUnits, 1, MaxCPUUnits, true, "units", "for example --cpuunits 1000"},
		{"cpulimit", s.CPULimit, 1, MaxCPUMilli / 10, true, "per cent of one CPU", "for example --cpulimit 150"},
		{"numproc", s.NumProc, MinNumProc, MaxNumProc, true, "processes", "for example --numproc 1000"},
	} {
		if f.zero && f.v == 0 {
			continue
		}
		if f.v < f.min || f.v > f.max {
			return &InvalidError{f.what, strconv.FormatUint(f.v, 10), fmt.Sprintf("out of range: %d to %d %s", f.min, f.max, f.unit), f.do}
		}
	}
	return nil
}

// validate checks the network part of a spec.
func (n Network) validate() error {
	if n.Bridge != "" && !ifnameRE.MatchString(n.Bridge) {
		return &InvalidError{"bridge", n.Bridge, "not the name of a network interface", "give the name that 'ip link' shows, or none for the node's default"}
	}
	if n.MAC != "" {
		if mac, err := net.ParseMAC(n.MAC); err != nil || len(mac) != 6 || mac[0]&1 == 1 {
			return &InvalidError{"mac", n.MAC, "not a unicast Ethernet address", "leave it out: the cluster chooses one"}
		}
	}
	if len(n.Addresses) > maxAddrs {
		return &InvalidError{"ipadd", strconv.Itoa(len(n.Addresses)), fmt.Sprintf("more than %d addresses", maxAddrs), "give fewer"}
	}
	seen := map[netip.Addr]bool{}
	for _, a := range n.Addresses {
		p, err := netip.ParsePrefix(a)
		if err != nil {
			return &InvalidError{"ipadd", a, "not an address with prefix length", "for example 10.0.0.5/24"}
		}
		ip := p.Addr()
		if ip.IsUnspecified() || ip.IsMulticast() || ip.IsLoopback() || ip.Is4In6() {
			return &InvalidError{"ipadd", a, "not an address that a host can have on a network", "for example 10.0.0.5/24"}
		}
		if seen[ip] {
			return &InvalidError{"ipadd", a, "given twice", "give each address once"}
		}
		seen[ip] = true
	}
	if n.Gateway != "" {
		if _, err := netip.ParseAddr(n.Gateway); err != nil {
			return &InvalidError{"gateway", n.Gateway, "not an address", "for example 10.0.0.1"}
		}
	}
	for _, a := range n.Nameserver {
		if _, err := netip.ParseAddr(a); err != nil {
			return &InvalidError{"nameserver", a, "not an address", "for example 10.0.0.1"}
		}
	}
	if len(n.Nameserver) > 8 {
		return &InvalidError{"nameserver", strconv.Itoa(len(n.Nameserver)), "more than 8", "give fewer"}
	}
	return nil
}

// validateInit checks the argv of pid 1.
func validateInit(argv []string) error {
	if len(argv) > maxArgs {
		return &InvalidError{"init", strconv.Itoa(len(argv)), fmt.Sprintf("more than %d arguments", maxArgs), "give fewer"}
	}
	for i, a := range argv {
		if len(a) > maxArgBytes || strings.ContainsRune(a, 0) {
			return &InvalidError{"init", a, fmt.Sprintf("an argument longer than %d bytes or with a NUL byte", maxArgBytes), "shorten it"}
		}
		if i == 0 && !strings.HasPrefix(a, "/") {
			return &InvalidError{"init", a, "not an absolute path", "for example /sbin/init"}
		}
	}
	return nil
}
