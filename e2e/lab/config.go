package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Names of the host that makes traffic and of the pseudo host that is the LAN itself.
const (
	ClientHost = "client"
	lanHost    = "lan"
)

// DefaultName is the lab's name when none is given.
const DefaultName = "lab"

// Ports of the cluster's programs inside the lab.
const (
	MasterAPIPort  = 7700
	MasterRaftPort = 7701
	NodePort       = 7710
)

// Addresses of the lab's subnet. Containers may use everything from ContainerNet up.
const (
	Subnet       = "10.77.0.0/16"
	Gateway      = "10.77.0.1" // the LAN bridge itself: the same for all containers wherever they run
	ContainerNet = "10.77.1.0"
	prefixLen    = 16
)

const (
	maxMasters = 9
	maxNodes   = 60
)

// Roles of the processes that the lab starts on its hosts.
const (
	RoleMaster = "master"
	RoleNode   = "node"
)

// Config says what lab to build. The zero value with Masters and Nodes set is the usual lab.
type Config struct {
	Name    string // default DefaultName
	Dir     string // state directory; default DefaultDir(Name)
	Masters int
	Nodes   int
	// Store is where the masters keep the state: StoreRaft, also when empty, or StoreEtcd: an etcd with a member on each master's host.
	Store string

	// BinDir has vzlab, vzmaster and vznode; default: where the running program is.
	BinDir string
	// KeeperArgv is the command that ends in HostInit; default BinDir/vzlab host-init.
	KeeperArgv []string
	// MasterArgs and NodeArgs are added to the command lines of vzmaster and vznode.
	MasterArgs, NodeArgs []string
	// Env is added to the environment of the hosts' processes, as KEY=VALUE.
	Env []string
	// Daemons overrides what runs on a host; nil: vzmaster on masters, vznode on nodes.
	Daemons func(Host) []Daemon
	// Ephemeral hosts die with the calling process: for tests, so that a crashed test leaves no process.
	Ephemeral bool
}

// Daemon is a process that a host runs from power-on.
type Daemon struct {
	Role string   `json:"role"`
	Argv []string `json:"argv"`
	Env  []string `json:"env,omitempty"` // added to the host's environment
}

// Host is one machine of the lab.
type Host struct {
	Name    string   `json:"name"`
	Kind    string   `json:"kind"` // RoleMaster, RoleNode, ClientHost or "lan"
	Index   int      `json:"index,omitempty"`
	IP      string   `json:"ip"`
	Daemons []Daemon `json:"daemons,omitempty"`
	Rate    string   `json:"rate,omitempty"` // as given to Rate; empty: no limit
	// Pid and PidStart name the keeper as the machine sees it; Pid 0: powered off.
	Pid      int    `json:"pid,omitempty"`
	PidStart uint64 `json:"pid_start,omitempty"`
}

// DefaultDir is the state directory of a lab whose Config has none.
func DefaultDir(name string) string { return filepath.Join("/var/tmp/vzlab", name) }

var nameRE = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?$`)

func (c Config) withDefaults() (Config, error) {
	if c.Name == "" {
		c.Name = DefaultName
	}
	if !nameRE.MatchString(c.Name) {
		return c, fmt.Errorf("lab name %q: want 1 to 24 of a-z, 0-9 and inner dashes", c.Name)
	}
	if c.Dir == "" {
		c.Dir = DefaultDir(c.Name)
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return c, fmt.Errorf("state directory: %w", err)
	}
	c.Dir = dir
	// The hosts see the machine's directories except these, and they must see the state directory.
	for _, own := range ownDirs {
		if dir == own || strings.HasPrefix(dir, own+"/") {
			return c, fmt.Errorf("state directory %s: hosts have a %s of their own", dir, own)
		}
	}
	if c.Masters < 0 || c.Masters > maxMasters || c.Nodes < 0 || c.Nodes > maxNodes {
		return c, fmt.Errorf("want at most %d masters and %d nodes, not %d and %d", maxMasters, maxNodes, c.Masters, c.Nodes)
	}
	if c.Store == "" {
		c.Store = StoreRaft
	}
	if c.Store != StoreRaft && c.Store != StoreEtcd {
		return c, fmt.Errorf("store %q: raft or etcd", c.Store)
	}
	if c.BinDir == "" {
		exe, err := os.Executable()
		if err != nil {
			return c, fmt.Errorf("find own binary: %w", err)
		}
		c.BinDir = filepath.Dir(exe)
	}
	if c.BinDir, err = filepath.Abs(c.BinDir); err != nil {
		return c, fmt.Errorf("binaries: %w", err)
	}
	if len(c.KeeperArgv) == 0 {
		c.KeeperArgv = []string{filepath.Join(c.BinDir, "vzlab"), "host-init"}
	}
	if c.Daemons == nil {
		c.Daemons = c.clusterDaemons
	}
	return c, nil
}

// hosts lists the lab's hosts, LAN first.
func (c Config) hosts() []Host {
	hs := []Host{{Name: lanHost, Kind: lanHost, IP: Gateway}, {Name: ClientHost, Kind: ClientHost, IP: "10.77.0.5"}}
	for i := 1; i <= c.Masters; i++ {
		hs = append(hs, Host{Name: fmt.Sprintf("m%d", i), Kind: RoleMaster, Index: i, IP: masterIP(i)})
	}
	for i := 1; i <= c.Nodes; i++ {
		hs = append(hs, Host{Name: fmt.Sprintf("n%d", i), Kind: RoleNode, Index: i, IP: fmt.Sprintf("10.77.0.%d", 20+i)})
	}
	for i := range hs {
		if hs[i].Kind != lanHost {
			hs[i].Daemons = c.Daemons(hs[i])
		}
	}
	return hs
}

// errNoHost is returned for a host that the lab does not have.
var errNoHost = errors.New("no such host")
