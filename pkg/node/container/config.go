package container

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// Config tells a [Runtime] where to work. The zero value of a field with a default stands for the default.
type Config struct {
	DataDir      string // default /vz
	RunDir       string // default /run/vzcluster; should be on a tmpfs: it must not survive a boot
	CgroupParent string // default vzcluster; a path below the root of every hierarchy, without a leading slash
	CRIU         string // the criu binary; default: the one of make deps (/opt/vz/criu), else criu from PATH

	Bridge      string   // default vzbr0; must exist when a container with a network starts
	Gateway     string   // default route of containers that name none; empty: none
	Nameservers []string // of containers that name none

	Address  string            // host:port of the node-to-node server, for Info
	Capacity cluster.Resources // a part that is 0 is probed

	// ConsoleKeeper is the command that runs [RunConsoleKeeper] with this runtime's ConsoleSocket and LogDir; default: this program with
	// console-keeper --socket SOCKET --log-dir DIR.
	ConsoleKeeper []string

	Log *slog.Logger // default slog.Default()
}

// privateCRIU is where make deps puts a CRIU that is newer than the host's.
const privateCRIU = "/opt/vz/criu/bin/criu"

func (c Config) withDefaults() (Config, error) {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	def(&c.DataDir, "/vz")
	def(&c.RunDir, "/run/vzcluster")
	def(&c.CgroupParent, "vzcluster")
	if _, err := os.Stat(privateCRIU); err == nil {
		def(&c.CRIU, privateCRIU)
	}
	def(&c.CRIU, "criu")
	def(&c.Bridge, "vzbr0")
	if len(c.ConsoleKeeper) == 0 {
		c.ConsoleKeeper = []string{"/proc/self/exe", "console-keeper", "--socket", c.ConsoleSocket(), "--log-dir", c.LogDir()}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	for _, d := range []string{c.DataDir, c.RunDir} {
		if !filepath.IsAbs(d) {
			return c, fmt.Errorf("%q is not an absolute path", d)
		}
	}
	c.CgroupParent = strings.Trim(c.CgroupParent, "/")
	if c.CgroupParent == "" || c.CgroupParent != filepath.Clean(c.CgroupParent) || strings.HasPrefix(c.CgroupParent, "..") {
		return c, errors.New("the cgroup parent must be a path below the root of the hierarchies")
	}
	return c, nil
}

// ConsoleSocket is where the console keeper listens.
func (c Config) ConsoleSocket() string { return filepath.Join(c.RunDir, "console.sock") }

// LogDir holds the console logs.
func (c Config) LogDir() string { return filepath.Join(c.DataDir, "log") }
