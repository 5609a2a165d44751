package network

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Config is one container's attachment to a bridge.
type Config struct {
	Bridge    string   // must exist
	Host      string   // name of the host's end: [HostName]
	MAC       string   // of the container's end; empty: the kernel chooses
	Addresses []string // CIDR, of the container's end
	Gateway   string   // default route of its family; empty: none
	Unplugged bool     // Attach leaves the host's end out of the bridge; see Plug and Calm
}

const guestName = "eth0"

// HostName is the name of the host's end of a container's device.
func HostName(ctid string) string { return "vz" + ctid }

// Attach makes the device, with the container's end in the network namespace of pid, configured and up. A device of the same name is
// replaced: it belonged to a former life of the container.
//
// The container's end is made where it belongs, not moved there: a move makes the kernel wait for grace periods, some 20 ms during which a
// restored container would stand still.
func Attach(ctx context.Context, c Config, pid int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	addrs, gw, err := c.parse()
	if err != nil {
		return fmt.Errorf("network of %s: %w", c.Host, err)
	}
	if err := Detach(c.Host); err != nil {
		return err
	}
	ns, h, err := enter(pid)
	if err != nil {
		return err
	}
	defer ns.Close()
	defer h.Close()
	if err := create(c, ns); err != nil {
		return err
	}
	err = configure(h, addrs, gw)
	if err == nil && c.Unplugged {
		err = hasten(ns)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("network of %s: %w", c.Host, err), Detach(c.Host))
	}
	return nil
}

// create makes the pair, with the host's end up, and in the bridge unless c says otherwise.
func create(c Config, ns netns.NsHandle) error {
	br, err := netlink.LinkByName(c.Bridge)
	if err != nil {
		return fmt.Errorf("bridge %s: %w", c.Bridge, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = c.Host, br.Attrs().MTU
	if !c.Unplugged {
		attrs.MasterIndex = br.Attrs().Index
	}
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: guestName, PeerMTU: uint32(br.Attrs().MTU), PeerNamespace: netlink.NsFd(ns)}
	if c.MAC != "" {
		if veth.PeerHardwareAddr, err = net.ParseMAC(c.MAC); err != nil {
			return fmt.Errorf("network of %s: %w", c.Host, err)
		}
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make %s: %w", c.Host, err)
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return errors.Join(fmt.Errorf("set %s up: %w", c.Host, err), Detach(c.Host))
	}
	return nil
}

// Loopback sets lo up in the network namespace of pid: all that a container without a device has. [Attach] does it, too.
func Loopback(pid int) error {
	ns, h, err := enter(pid)
	if err != nil {
		return err
	}
	defer ns.Close()
	defer h.Close()
	return loopback(h)
}

// enter opens the network namespace of a process, and netlink in it.
func enter(pid int) (netns.NsHandle, *netlink.Handle, error) {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return ns, nil, fmt.Errorf("network namespace of %d: %w", pid, err)
	}
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return ns, nil, errors.Join(fmt.Errorf("netlink in the namespace of %d: %w", pid, err), ns.Close())
	}
	return ns, h, nil
}

func loopback(h *netlink.Handle) error {
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

func configure(h *netlink.Handle, addrs []*netlink.Addr, gw net.IP) error {
	if err := loopback(h); err != nil {
		return err
	}
	eth, err := h.LinkByName(guestName)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		// No duplicate detection: the cluster gives an address out once, and it must be usable at once after a migration.
		if a.IP.To4() == nil {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := h.AddrAdd(eth, a); err != nil {
			return fmt.Errorf("add %s: %w", a.IPNet, err)
		}
	}
	if err := h.LinkSetUp(eth); err != nil {
		return fmt.Errorf("set %s up: %w", guestName, err)
	}
	if gw == nil {
		return nil
	}
	// On link: the gateway need not be in the address's network (a /32 is routed as well).
	rt := &netlink.Route{LinkIndex: eth.Attrs().Index, Gw: gw, Flags: int(netlink.FLAG_ONLINK)}
	if err := h.RouteAdd(rt); err != nil {
		return fmt.Errorf("default route by %s: %w", gw, err)
	}
	return nil
}

// Detach removes a device; it is no error if there is none.
func Detach(name string) error {
	l, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

func (c Config) parse() ([]*netlink.Addr, net.IP, error) {
	var addrs []*netlink.Addr
	for _, s := range c.Addresses {
		a, err := netlink.ParseAddr(s)
		if err != nil {
			return nil, nil, fmt.Errorf("address %q: %w", s, err)
		}
		addrs = append(addrs, a)
	}
	if c.Gateway == "" {
		return addrs, nil, nil
	}
	gw := net.ParseIP(c.Gateway)
	if gw == nil {
		return nil, nil, fmt.Errorf("gateway %q is not an address", c.Gateway)
	}
	return addrs, gw, nil
}
