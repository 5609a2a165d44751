package network

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// holdLimit bounds the bytes of frames that one holder keeps; what comes after is dropped and sent again by TCP.
const holdLimit = 64 << 20

// Holder keeps the frames for a container that cannot take them while it is moved. A dropped frame would cost its sender a
// retransmission time-out of 200 ms and more, a held one only the time until it is put back.
//
// It is a tap device in the container's bridge. The device goes with this process, and the held frames with it.
type Holder struct {
	c     Config
	mac   net.HardwareAddr
	own   net.HardwareAddr // the tap's
	addrs [][]byte         // 4-byte addresses, for ARP
	file  *os.File
	index int
	done  chan struct{} // closed when the reader has ended

	mu      sync.Mutex
	held    [][]byte
	bytes   int
	dropped int
	passing bool // put frames back at once
}

// holderName is the name of the tap device.
func holderName(c Config) string { return "vh" + c.Host[min(2, len(c.Host)):] }

// NewHolder makes the holder of a container. Nothing reaches it before [Holder.Redirect].
func NewHolder(c Config) (*Holder, error) {
	h, err := newHolder(c)
	if err != nil {
		return nil, fmt.Errorf("frame holder of %s: %w", c.Host, err)
	}
	return h, nil
}

func newHolder(c Config) (*Holder, error) {
	mac, err := net.ParseMAC(c.MAC)
	if err != nil {
		return nil, err
	}
	h := &Holder{c: c, mac: mac, done: make(chan struct{})}
	for _, a := range c.Addresses {
		if p, err := netip.ParsePrefix(a); err == nil && p.Addr().Is4() {
			h.addrs = append(h.addrs, p.Addr().AsSlice())
		}
	}
	br, err := netlink.LinkByName(c.Bridge)
	if err != nil {
		return nil, fmt.Errorf("bridge %s: %w", c.Bridge, err)
	}
	if err := Detach(holderName(c)); err != nil { // of an agent that has not quite died
		return nil, err
	}
	if h.file, err = openTap(holderName(c)); err != nil {
		return nil, err
	}
	if err := h.plug(br); err != nil {
		h.file.Close()
		return nil, err
	}
	go h.read()
	return h, nil
}

// plug puts the tap into the bridge as a port from which nothing is learned and to which, of what has no known receiver, only broadcasts go.
func (h *Holder) plug(br netlink.Link) error {
	tap, err := netlink.LinkByName(holderName(h.c))
	if err != nil {
		return err
	}
	h.index, h.own = tap.Attrs().Index, tap.Attrs().HardwareAddr
	if err := netlink.LinkSetTxQLen(tap, 10000); err != nil { // frames: until the reader gets to run
		return err
	}
	if err := netlink.LinkSetMTU(tap, br.Attrs().MTU); err != nil {
		return err
	}
	if err := netlink.LinkSetMaster(tap, br); err != nil {
		return err
	}
	err = setPort(h.index, map[int]uint8{nl.IFLA_BRPORT_LEARNING: 0, nl.IFLA_BRPORT_UNICAST_FLOOD: 0, nl.IFLA_BRPORT_MCAST_FLOOD: 0})
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(tap); err != nil {
		return err
	}
	return openWhenUp(h.index)
}

func openTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		// Without a virtio header the kernel gives whole frames: segmented, and with their checksums.
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true) // before os.NewFile looks: the poller then waits, not a thread
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make tap %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (h *Holder) read() {
	defer close(h.done)
	buf := make([]byte, 70000)
	for {
		n, err := h.file.Read(buf)
		if err != nil {
			return
		}
		if frame := h.forContainer(buf[:n]); frame != nil {
			h.take(frame)
		}
	}
}

func (h *Holder) take(frame []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.passing:
		_ = h.put(frame)
	case h.bytes+len(frame) > holdLimit:
		h.dropped++
	default:
		h.held = append(h.held, bytes.Clone(frame))
		h.bytes += len(frame)
	}
}

const (
	etherLen     = 14
	arpLen       = 28
	etherTypeARP = 0x0806
	arpRequest   = 1
)

// forContainer tells whether a frame is to be held, and returns it as it is to be put back. A broadcast question for the container's
// address is put back for the container alone: all others have had it.
func (h *Holder) forContainer(frame []byte) []byte {
	if len(frame) < etherLen {
		return nil
	}
	if bytes.Equal(frame[:6], h.mac) {
		return frame
	}
	if len(frame) < etherLen+arpLen || binary.BigEndian.Uint16(frame[12:]) != etherTypeARP ||
		binary.BigEndian.Uint16(frame[etherLen+6:]) != arpRequest {
		return nil
	}
	for _, a := range h.addrs {
		if bytes.Equal(frame[etherLen+24:etherLen+28], a) && !bytes.Equal(frame[etherLen+14:etherLen+18], a) {
			copy(frame, h.mac)
			return frame
		}
	}
	return nil
}

// Redirect sends all frames for the container to the holder from now on, even while the container still sends frames itself.
func (h *Holder) Redirect() error {
	h.mu.Lock()
	h.passing = false
	h.mu.Unlock()
	return steer(h.c.MAC, h.index, netlink.NUD_NOARP, netlink.NTF_STICKY)
}

// Loosen lets the bridge follow the container's address to another port: called once the container's own port is closed, so that
// the address can only turn up where the container has gone to.
func (h *Holder) Loosen() error { return steer(h.c.MAC, h.index, netlink.NUD_NOARP, 0) }

// PutBack gives the held frames back to the bridge, and every frame that comes later at once: to the container's port after
// [OpenPort], to wherever the address has gone after [Forget]. It returns how many were held, and how many had to be dropped.
func (h *Holder) PutBack() (held, dropped int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for _, f := range h.held {
		if err := h.put(f); err != nil {
			errs = append(errs, err)
		}
	}
	held, dropped = len(h.held), h.dropped
	h.held, h.bytes, h.dropped, h.passing = nil, 0, 0, true
	if len(errs) > 0 {
		err = fmt.Errorf("put %d frames of %s back: %w", len(errs), h.c.Host, errs[0])
	}
	return held, dropped, err
}

// put gives one frame to the bridge, as coming from the holder itself: under its sender's address every switch on its way would learn
// that the sender is here, and the container's answer to it would be lost.
func (h *Holder) put(frame []byte) error {
	copy(frame[6:12], h.own)
	_, err := h.file.Write(frame)
	return err
}

// Forget removes the bridge's forwarding entry of the container: it is no longer here.
func Forget(c Config) error {
	if c.MAC == "" {
		return nil
	}
	if err := unsteer(c.MAC, c.Bridge); err != nil {
		return fmt.Errorf("forget %s: %w", c.MAC, err)
	}
	return nil
}

// Close removes the tap device; frames that are still held are lost.
func (h *Holder) Close() error {
	err := h.file.Close()
	<-h.done
	return err
}
