package network

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// States of a bridge port: IFLA_BRPORT_STATE.
const (
	portClosed = 0 // neither takes nor gives a frame
	portOpen   = 3 // forwarding
)

// ClosePort cuts the container's device off the bridge, both ways. It is kernel state: it outlives this process. Idempotent.
func ClosePort(c Config) error {
	host, err := netlink.LinkByName(c.Host)
	if err != nil {
		return fmt.Errorf("close port %s: %w", c.Host, err)
	}
	if err := setPortState(host.Attrs().Index, portClosed); err != nil {
		return fmt.Errorf("close port %s: %w", c.Host, err)
	}
	return nil
}

// OpenPort undoes [ClosePort] and sends the frames for the container to its port again, wherever they were sent meanwhile.
// Idempotent, and works without the [Holder] that sent them elsewhere.
func OpenPort(c Config) error {
	host, err := netlink.LinkByName(c.Host)
	if err != nil {
		return fmt.Errorf("open port %s: %w", c.Host, err)
	}
	return openPort(c, host.Attrs().Index)
}

func openPort(c Config, index int) error {
	if err := openWhenUp(index); err != nil {
		return fmt.Errorf("open port %s: %w", c.Host, err)
	}
	if err := steer(c.MAC, index, netlink.NUD_REACHABLE, 0); err != nil {
		return fmt.Errorf("open port %s: %w", c.Host, err)
	}
	return nil
}

// Plug puts a device that was attached unplugged into its bridge, with its port open.
func Plug(c Config) error {
	host, err := netlink.LinkByName(c.Host)
	if err != nil {
		return fmt.Errorf("plug in %s: %w", c.Host, err)
	}
	br, err := netlink.LinkByName(c.Bridge)
	if err != nil {
		return fmt.Errorf("plug in %s: bridge %s: %w", c.Host, c.Bridge, err)
	}
	if host.Attrs().MasterIndex != br.Attrs().Index {
		if err := netlink.LinkSetMaster(host, br); err != nil {
			return fmt.Errorf("plug in %s: %w", c.Host, err)
		}
	}
	return openPort(c, host.Attrs().Index)
}

// CheckBridge tells why containers on a bridge cannot be fenced, nil if they can.
func CheckBridge(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("bridge %s: %w", name, err)
	}
	if l.Type() != "bridge" {
		return fmt.Errorf("%s is a %s, not a bridge", name, l.Type())
	}
	return nil
}

// setPortState is one message, without any change of carrier and without waiting for anything.
func setPortState(index int, state uint8) error {
	return setPort(index, map[int]uint8{nl.IFLA_BRPORT_STATE: state})
}

func setPort(index int, attrs map[int]uint8) error {
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msg.Index = int32(index)
	req.AddData(msg)
	port := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	for attr, v := range attrs {
		port.AddRtAttr(attr, []byte{v})
	}
	req.AddData(port)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	if errors.Is(err, unix.EBUSY) {
		return errors.New("the bridge runs the spanning tree protocol, so its ports cannot be closed")
	}
	return err
}

// openWhenUp opens a port, which the kernel refuses until it has noticed that the link is up; soon after it opens the port by itself,
// so that a port may be closed only after this.
func openWhenUp(index int) error {
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(200 * time.Microsecond) {
		err := setPortState(index, portOpen)
		if !errors.Is(err, unix.ENETDOWN) || time.Now().After(deadline) {
			return err
		}
	}
}

// steer makes the bridge send frames for mac to a port. As NUD_NOARP the entry does not age; with NTF_STICKY it does not follow the
// address either when frames from it come in at another port.
func steer(mac string, port int, state, flags int) error {
	if mac == "" {
		return nil
	}
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return err
	}
	err = netlink.NeighSet(&netlink.Neigh{LinkIndex: port, Family: unix.AF_BRIDGE, Flags: netlink.NTF_MASTER | flags, State: state,
		HardwareAddr: hw})
	if err != nil {
		return fmt.Errorf("forwarding entry of %s: %w", mac, err)
	}
	return nil
}

// unsteer forgets where frames for mac go, so that the bridge learns it anew. The entry may have followed the address to another port.
func unsteer(mac, bridge string) error {
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return err
	}
	br, err := netlink.LinkByName(bridge)
	if err != nil {
		return err
	}
	all, err := netlink.NeighList(0, unix.AF_BRIDGE)
	if err != nil {
		return err
	}
	for _, n := range all {
		if n.MasterIndex != br.Attrs().Index || n.HardwareAddr.String() != hw.String() {
			continue
		}
		err := netlink.NeighDel(&netlink.Neigh{LinkIndex: n.LinkIndex, Family: unix.AF_BRIDGE, Flags: netlink.NTF_MASTER,
			HardwareAddr: hw, Vlan: n.Vlan})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}
