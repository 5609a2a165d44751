package cluster

import "strings"

// The names of a spec's fields in a change (SetContainerRequest.fields): their paths in the spec's JSON.
const (
	FieldHostname   = "hostname"
	FieldCPU        = "resources.cpu_milli"
	FieldMemory     = "resources.memory_bytes"
	FieldDisk       = "resources.disk_bytes"
	FieldSwap       = "swap_bytes"
	FieldCPUUnits   = "cpuunits"
	FieldCPULimit   = "cpulimit"
	FieldNumProc    = "numproc"
	FieldAddresses  = "net.addresses"
	FieldGateway    = "net.gateway"
	FieldNameserver = "net.nameserver"
	FieldBridge     = "net.bridge"
	FieldOnBoot     = "onboot"
	FieldInit       = "init"
)

// take has for each field that may change in a container's life how it is taken over. Template, MAC and Privileged are not here:
// the container's files and id range were made with them.
var take = map[string]func(to, from *Spec){
	FieldHostname:   func(to, from *Spec) { to.Hostname = from.Hostname },
	FieldCPU:        func(to, from *Spec) { to.Resources.CPUMilli = from.Resources.CPUMilli },
	FieldMemory:     func(to, from *Spec) { to.Resources.MemoryBytes = from.Resources.MemoryBytes },
	FieldDisk:       func(to, from *Spec) { to.Resources.DiskBytes = from.Resources.DiskBytes },
	FieldSwap:       func(to, from *Spec) { to.SwapBytes = from.SwapBytes },
	FieldCPUUnits:   func(to, from *Spec) { to.CPUUnits = from.CPUUnits },
	FieldCPULimit:   func(to, from *Spec) { to.CPULimit = from.CPULimit },
	FieldNumProc:    func(to, from *Spec) { to.NumProc = from.NumProc },
	FieldAddresses:  func(to, from *Spec) { to.Net.Addresses = from.Net.Addresses },
	FieldGateway:    func(to, from *Spec) { to.Net.Gateway = from.Net.Gateway },
	FieldNameserver: func(to, from *Spec) { to.Net.Nameserver = from.Net.Nameserver },
	FieldBridge:     func(to, from *Spec) { to.Net.Bridge = from.Net.Bridge },
	FieldOnBoot:     func(to, from *Spec) { to.OnBoot = from.OnBoot },
	FieldInit:       func(to, from *Spec) { to.Init = from.Init },
}

// Take returns s with the named fields taken from o. The error is an [InvalidError]: a field that does not exist or can't change.
func (s Spec) Take(o Spec, fields []string) (Spec, error) {
	if len(fields) == 0 {
		return s, &InvalidError{"parameters", "", "none given", "name at least one to change"}
	}
	for _, f := range fields {
		set, ok := take[f]
		if !ok {
			return s, &InvalidError{"parameter", f, "not one that can be changed",
				"template and privileges are fixed when a container is made; the others are " + strings.Join(FieldNames(), ", ")}
		}
		set(&s, &o)
	}
	return s, nil
}

// FieldNames lists the fields that can be changed, in the order of the spec.
func FieldNames() []string {
	return []string{FieldHostname, FieldCPU, FieldMemory, FieldDisk, FieldSwap, FieldCPUUnits, FieldCPULimit, FieldNumProc,
		FieldAddresses, FieldGateway, FieldNameserver, FieldBridge, FieldOnBoot, FieldInit}
}
