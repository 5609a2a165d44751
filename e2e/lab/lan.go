package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Link names inside the lab.
const (
	lanBridge  = "lan0"  // in the LAN
	nodeBridge = "vzbr0" // on a node: its uplink and its containers
	uplink     = "eth0"  // on every host
)

func lanPort(host string) string { return "p-" + host }

// netMark is the alias of a lab namespace's loopback device: how Leftovers knows the namespace.
func netMark(lab, host string) string { return "vzlab:" + lab + ":" + host }

// hostMAC is a fixed address from the last octet of the host's IP, different for each of its devices.
func hostMAC(ip string, device byte) net.HardwareAddr {
	return net.HardwareAddr{0x02, 'l', 'a', 'b', device, net.ParseIP(ip).To4()[3]}
}

// hostNet is the network namespace of a running host.
type hostNet struct {
	*netlink.Handle
	pidfd *os.File
}

func openNet(h *Host) (*hostNet, error) {
	pidfd, err := openPid(h.Pid, h.PidStart)
	if err != nil {
		return nil, fmt.Errorf("host %s is off: %w", h.Name, err)
	}
	ns, err := netns.GetFromPid(h.Pid)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("network of %s: %w", h.Name, err), pidfd.Close())
	}
	defer ns.Close()
	nlh, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("network of %s: %w", h.Name, err), pidfd.Close())
	}
	return &hostNet{Handle: nlh, pidfd: pidfd}, nil
}

func (n *hostNet) Close() {
	n.Handle.Close()
	n.pidfd.Close()
}

// setUpLAN makes the bridge in the LAN's namespace.
func setUpLAN(s *state, h *Host) error {
	n, err := openNet(h)
	if err != nil {
		return err
	}
	defer n.Close()
	if err := n.basics(s, h); err != nil {
		return err
	}
	return n.addBridge(lanBridge, hostMAC(h.IP, 0), h.IP)
}

// plugIn joins a new host to the LAN.
func plugIn(s *state, h *Host) error {
	lanH, err := s.host(lanHost)
	if err != nil {
		return err
	}
	lan, err := openNet(lanH)
	if err != nil {
		return err
	}
	defer lan.Close()
	n, err := openNet(h)
	if err != nil {
		return err
	}
	defer n.Close()
	if err := n.basics(s, h); err != nil {
		return err
	}
	port := netlink.NewLinkAttrs()
	port.Name = lanPort(h.Name)
	port.HardwareAddr = hostMAC(h.IP, 2)
	// The pair is made inside the lab from the first moment: the machine's own network never sees an end of it.
	veth := &netlink.Veth{LinkAttrs: port, PeerName: uplink, PeerHardwareAddr: hostMAC(h.IP, 1), PeerNamespace: netlink.NsPid(h.Pid)}
	if err := lan.LinkAdd(veth); err != nil {
		return fmt.Errorf("add link: %w", err)
	}
	if err := lan.enslave(lanPort(h.Name), lanBridge); err != nil {
		return err
	}
	if h.Kind == RoleNode {
		if err := n.addBridge(nodeBridge, hostMAC(h.IP, 0), h.IP); err != nil {
			return err
		}
		if err := n.enslave(uplink, nodeBridge); err != nil {
			return err
		}
	} else if err := n.address(uplink, h.IP); err != nil {
		return err
	}
	if h.Rate != "" {
		return setRate(s, h, h.Rate)
	}
	return nil
}

// unplug removes the host's port on the LAN, if it is there.
func unplug(s *state, h *Host) error {
	lanH, err := s.host(lanHost)
	if err != nil {
		return err
	}
	lan, err := openNet(lanH)
	if errors.Is(err, errGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lan.Close()
	link, err := lan.LinkByName(lanPort(h.Name))
	if err == nil {
		err = lan.LinkDel(link)
	}
	if noLink(err) {
		return nil
	}
	return err
}

// noLink tells whether an error says that the device is not there.
func noLink(err error) bool {
	var notFound netlink.LinkNotFoundError
	return errors.As(err, &notFound) || errors.Is(err, unix.ENODEV)
}

// basics are what every lab namespace gets: kernel settings, loopback, and the mark.
func (n *hostNet) basics(s *state, h *Host) error {
	if err := onThread(func() error {
		if err := enter(n.pidfd, unix.CLONE_NEWNET); err != nil {
			return err
		}
		return netSysctls()
	}); err != nil {
		return err
	}
	lo, err := n.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	if err := n.LinkSetAlias(lo, netMark(s.Name, h.Name)); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	if err := n.LinkSetUp(lo); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	return nil
}

// netSysctls sets the kernel parameters of the calling thread's network namespace.
func netSysctls() error {
	for _, kv := range []string{
		"ipv4/conf/all/rp_filter=0", // a container's address moves between hosts
		"ipv4/conf/default/rp_filter=0",
		"ipv6/conf/all/accept_dad=0", // addresses are usable at once
		"ipv6/conf/default/accept_dad=0",
		"ipv6/conf/all/accept_ra=0",
		"ipv6/conf/default/accept_ra=0",
		"bridge/bridge-nf-call-iptables=0", // bridged frames are no business of ip filters
		"bridge/bridge-nf-call-ip6tables=0",
		"bridge/bridge-nf-call-arptables=0",
	} {
		key, value, _ := strings.Cut(kv, "=")
		err := os.WriteFile(filepath.Join("/proc/sys/net", key), []byte(value), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // not there: the kernel has no such feature
			return fmt.Errorf("sysctl %s: %w", key, err)
		}
	}
	return nil
}

// addBridge makes a bridge with a fixed address (it would otherwise change as ports come and go).
func (n *hostNet) addBridge(name string, mac net.HardwareAddr, ip string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	attrs.HardwareAddr = mac
	snooping := false // there is no querier to keep the groups alive
	br := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}
	if err := n.LinkAdd(br); err != nil {
		return fmt.Errorf("add bridge %s: %w", name, err)
	}
	if err := n.bridgeForwardsAtOnce(name); err != nil {
		return fmt.Errorf("bridge %s: %w", name, err)
	}
	return n.address(name, ip)
}

// bridgeForwardsAtOnce turns STP and the forward delay off, which the netlink package has no fields for.
func (n *hostNet) bridgeForwardsAtOnce(name string) error {
	link, err := n.LinkByName(name)
	if err != nil {
		return err
	}
	return onThread(func() error {
		if err := enter(n.pidfd, unix.CLONE_NEWNET); err != nil {
			return err
		}
		req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
		msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
		msg.Index = int32(link.Attrs().Index)
		req.AddData(msg)
		info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
		info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
		data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
		data.AddRtAttr(nl.IFLA_BR_STP_STATE, nl.Uint32Attr(0))
		data.AddRtAttr(nl.IFLA_BR_FORWARD_DELAY, nl.Uint32Attr(0))
		req.AddData(info)
		_, err := req.Execute(unix.NETLINK_ROUTE, 0)
		return err
	})
}

func (n *hostNet) enslave(name, bridge string) error {
	link, err := n.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	br, err := n.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("bridge %s: %w", bridge, err)
	}
	if err := n.LinkSetMaster(link, br); err != nil {
		return fmt.Errorf("put %s into %s: %w", name, bridge, err)
	}
	if err := n.LinkSetUp(link); err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	return nil
}

// address gives a device the host's address, takes it up and leads everything else to the gateway.
func (n *hostNet) address(name, ip string) error {
	link, err := n.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	mask := net.CIDRMask(prefixLen, 32)
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(ip), Mask: mask}}
	if err := n.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("address %s of %s: %w", ip, name, err)
	}
	if err := n.LinkSetUp(link); err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	if ip == Gateway {
		return nil
	}
	if err := n.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(Gateway)}); err != nil {
		return fmt.Errorf("default route by %s: %w", name, err)
	}
	return nil
}
