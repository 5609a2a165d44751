package master

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate"
	"github.com/vzcluster/vzcluster/pkg/scheduler"
)

// Default ports of a master.
const (
	DefaultPort     = "7700"
	DefaultRaftPort = "7701"
)

// Config says who this master is and how it leads.
type Config struct {
	ID            string   // stable over restarts
	Advertise     string   // host:port of the API, as clients and other masters reach it
	RaftAdvertise string   // host:port of raft, as other masters reach it; empty: without raft
	Join          []string // APIs of masters that can add this one; empty: it was bootstrapped, or will find itself in its data

	Leases        Leases           // zero: DefaultLeases
	Timeouts      migrate.Timeouts // zero: migrate.DefaultTimeouts
	CPUOvercommit float64          // zero: scheduler.DefaultCPUOvercommit
}

// withDefaults fills in what was left out and checks the rest.
func (c Config) withDefaults() (Config, error) {
	if err := cluster.ValidateNodeName(c.ID); err != nil {
		return c, fmt.Errorf("master id: %w", err)
	}
	addrs := append([]string{c.Advertise}, c.Join...)
	if c.RaftAdvertise != "" {
		addrs = append(addrs, c.RaftAdvertise)
	}
	for _, a := range addrs {
		if err := checkAddr(a); err != nil {
			return c, fmt.Errorf("address %q: %w", a, err)
		}
	}
	if c.Leases == (Leases{}) {
		c.Leases = DefaultLeases
	}
	if c.Leases.Period < 10*time.Millisecond || c.Leases.Lease < 3*c.Leases.Period {
		return c, errors.New("leases: a lease must last for three periods at least")
	}
	if c.Timeouts == (migrate.Timeouts{}) {
		c.Timeouts = migrate.DefaultTimeouts
	}
	if c.CPUOvercommit == 0 {
		c.CPUOvercommit = scheduler.DefaultCPUOvercommit
	}
	if c.CPUOvercommit < 1 || c.CPUOvercommit > 1000 {
		return c, errors.New("CPU overcommit: 1 to 1000")
	}
	return c, nil
}

// checkAddr tells whether others can dial a.
func checkAddr(a string) error {
	host, port, err := net.SplitHostPort(a)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		return errors.New("others can't dial this: it needs a host")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return errors.New("a port is needed")
	}
	return nil
}
