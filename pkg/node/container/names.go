package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// writeNames writes /etc/hostname, /etc/hosts and /etc/resolv.conf into a new root. Paths are resolved beneath the root, whatever symlinks
// the template has, and a symlink in the place of a file is replaced.
func (r *Runtime) writeNames(dir string, c cluster.Container) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	host := hostname(c)
	hosts := "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
	if len(c.Spec.Net.Addresses) == 0 {
		hosts += "127.0.1.1 " + hostNames(host) + "\n"
	}
	for _, a := range c.Spec.Net.Addresses {
		ip, _, _ := strings.Cut(a, "/")
		hosts += ip + " " + hostNames(host) + "\n"
	}
	servers := c.Spec.Net.Nameserver
	if len(servers) == 0 {
		servers = r.cfg.Nameservers
	}
	var resolv strings.Builder
	for _, s := range servers {
		resolv.WriteString("nameserver " + s + "\n")
	}
	if err := makeRooted(root, "etc", c.IDBase); err != nil {
		return fmt.Errorf("write names: %w", err)
	}
	for _, f := range []struct{ name, text string }{
		{"etc/hostname", host + "\n"}, {"etc/hosts", hosts}, {"etc/resolv.conf", resolv.String()},
	} {
		if err := writeRooted(root, f.name, f.text, c.IDBase); err != nil {
			return fmt.Errorf("write names: %w", err)
		}
	}
	return nil
}

func hostname(c cluster.Container) string {
	if c.Spec.Hostname != "" {
		return c.Spec.Hostname
	}
	return "ct" + c.CTID
}

// hostNames is a full name followed by its first label.
func hostNames(host string) string {
	if short, _, ok := strings.Cut(host, "."); ok {
		return host + " " + short
	}
	return host
}

func makeRooted(root *os.Root, name string, owner uint32) error {
	err := root.Mkdir(name, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return root.Lchown(name, int(owner), int(owner))
}

func writeRooted(root *os.Root, name, text string, owner uint32) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil { // past the umask
		return err
	}
	if err := f.Chown(int(owner), int(owner)); err != nil {
		return err
	}
	return f.Close()
}
