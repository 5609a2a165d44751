package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// specFlags are the parameters of a container, with vzctl's names.
type specFlags struct {
	spec   cluster.Spec
	fields []string // what was given, by the names of pkg/cluster
	add    []string // addresses
	del    []string // addresses without prefix length, or "all"
}

// register adds the flags of parameters that can be given at any time.
func (s *specFlags) register(f *pflag.FlagSet) {
	s.number(f, "cpuunits", "N", cluster.FieldCPUUnits, &s.spec.CPUUnits, cli.ParseCount, "CPU weight; 1000 is a plain container")
	s.number(f, "cpulimit", "PERCENT", cluster.FieldCPULimit, &s.spec.CPULimit, parsePercent, "at most this much CPU, in per cent of one CPU; 0: only as --cpus says")
	s.number(f, "cpus", "N", cluster.FieldCPU, &s.spec.Resources.CPUMilli, cli.ParseThousandths, "number of CPUs; up to three decimals")
	s.number(f, "ram", "SIZE", cluster.FieldMemory, &s.spec.Resources.MemoryBytes, pair(cli.Byte), "memory; B K M G T, plain numbers are bytes")
	s.number(f, "swap", "SIZE", cluster.FieldSwap, &s.spec.SwapBytes, pair(cli.Byte), "swap on top of memory; plain numbers are bytes")
	s.number(f, "diskspace", "SIZE[:SIZE]", cluster.FieldDisk, &s.spec.Resources.DiskBytes, pair(cli.KiB), "disk space; plain numbers are KiB, as in vzctl; of barrier:limit the limit counts")
	s.number(f, "numproc", "N[:N]", cluster.FieldNumProc, &s.spec.NumProc,
		func(v string) (uint64, error) { return cli.ParsePair(v, cli.ParseCount) }, "number of processes and threads; 0: the default")
	s.param(f, "ipadd", "ADDR/LEN", "", func(v string) error { return parseAddress(v, &s.add) }, "add an address; can be repeated")
	s.param(f, "hostname", "NAME", cluster.FieldHostname, func(v string) error { s.spec.Hostname = v; return nonempty(v) }, "host name inside")
	s.param(f, "nameserver", "ADDR", cluster.FieldNameserver, s.nameserver, "name server, can be repeated; inherit: the node's")
	s.param(f, "gateway", "ADDR", cluster.FieldGateway, s.gateway, "default gateway; inherit: the node's")
	s.param(f, "bridge", "NAME", cluster.FieldBridge, func(v string) error { s.spec.Net.Bridge = v; return nonempty(v) }, "the node's bridge to attach to")
	s.param(f, "onboot", "yes|no", cluster.FieldOnBoot, func(v string) (err error) { s.spec.OnBoot, err = cli.ParseYesNo(v); return err }, "start it again after its node was booted")
	s.param(f, "init", "COMMAND", cluster.FieldInit, func(v string) error { s.spec.Init = strings.Fields(v); return nonempty(strings.TrimSpace(v)) },
		"pid 1 and its arguments, split at blanks (default /sbin/init)")
}

// registerCreate adds the parameters that are fixed when a container is made.
func (s *specFlags) registerCreate(f *pflag.FlagSet) {
	f.StringVar(&s.spec.Template, "ostemplate", "", "the `TEMPLATE` to make it from ('template list' shows them)")
	f.BoolVar(&s.spec.Privileged, "privileged", false, "without a user namespace: root inside is root of the node")
	s.register(f)
}

// registerSet adds the parameters that only make sense for a container that exists.
func (s *specFlags) registerSet(f *pflag.FlagSet) {
	s.register(f)
	s.param(f, "ipdel", "ADDR|all", "", s.ipdel, "take an address away, or all; can be repeated")
}

// param adds a flag that names its field when it is given.
func (s *specFlags) param(f *pflag.FlagSet, name, typ, field string, set func(string) error, help string) {
	f.Var(&param{typ: typ, set: func(v string) error {
		if err := set(v); err != nil {
			return err
		}
		if field != "" && !slices.Contains(s.fields, field) {
			s.fields = append(s.fields, field)
		}
		return nil
	}}, name, help)
}

func (s *specFlags) number(f *pflag.FlagSet, name, typ, field string, to *uint64, parse func(string) (uint64, error), help string) {
	s.param(f, name, typ, field, func(v string) (err error) { *to, err = parse(v); return err }, help)
}

// pair reads a size or a barrier:limit pair of sizes.
func pair(plain uint64) func(string) (uint64, error) {
	return func(v string) (uint64, error) {
		return cli.ParsePair(v, func(v string) (uint64, error) { return cli.ParseSize(v, plain) })
	}
}

func parsePercent(v string) (uint64, error) { return cli.ParseCount(strings.TrimSuffix(v, "%")) }

func nonempty(v string) error {
	if v == "" {
		return errors.New("empty")
	}
	return nil
}

// parseAddress reads an address with its prefix length. A bridged container cannot do without the length, so none is guessed.
func parseAddress(v string, to *[]string) error {
	p, err := netip.ParsePrefix(v)
	if err != nil {
		return errors.New("not an address with prefix length, such as 10.0.0.5/24")
	}
	*to = append(*to, p.String())
	return nil
}

func (s *specFlags) ipdel(v string) error {
	if v != "all" {
		addr, _, _ := strings.Cut(v, "/")
		ip, err := netip.ParseAddr(addr)
		if err != nil {
			return errors.New("not an address, and not all")
		}
		v = ip.String()
	}
	s.del = append(s.del, v)
	return nil
}

func (s *specFlags) nameserver(v string) error {
	if v == "inherit" {
		s.spec.Net.Nameserver = nil
		return nil
	}
	ip, err := netip.ParseAddr(v)
	if err != nil {
		return errors.New("not an address, and not inherit")
	}
	s.spec.Net.Nameserver = append(s.spec.Net.Nameserver, ip.String())
	return nil
}

func (s *specFlags) gateway(v string) error {
	if v == "inherit" {
		s.spec.Net.Gateway = ""
		return nil
	}
	ip, err := netip.ParseAddr(v)
	if err != nil {
		return errors.New("not an address, and not inherit")
	}
	s.spec.Net.Gateway = ip.String()
	return nil
}

// addresses returns cur without what is to be taken away and with what is to be added.
func (s *specFlags) addresses(cur []string) ([]string, error) {
	out := slices.Clone(cur)
	for _, d := range s.del {
		n := len(out)
		out = slices.DeleteFunc(out, func(a string) bool { return d == "all" || strings.HasPrefix(a, d+"/") })
		if d != "all" && len(out) == n {
			return nil, fmt.Errorf("no address %s to take away", d)
		}
	}
	for _, a := range s.add {
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out, nil
}
