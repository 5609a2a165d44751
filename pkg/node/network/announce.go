package network

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// announcements is how often an address is announced, announceEvery how far apart: any one frame may be lost.
const (
	announcements = 3
	announceEvery = 150 * time.Millisecond
)

// Announce tells the network that the container's addresses are here now: gratuitous ARP for IPv4, unsolicited neighbour advertisements
// for IPv6, and without any address a RARP frame, so that at least the switches learn the new port. The first round is sent before it
// returns; the rest follows in the background until ctx ends.
func Announce(ctx context.Context, c Config) error {
	if c.MAC == "" {
		return nil
	}
	frames, err := announcementsOf(c)
	if err != nil {
		return fmt.Errorf("announce %s: %w", c.Host, err)
	}
	br, err := net.InterfaceByName(c.Bridge)
	if err != nil {
		return fmt.Errorf("announce %s: %w", c.Host, err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("announce %s: %w", c.Host, err)
	}
	round := func() error {
		var errs []error
		for _, f := range frames {
			// The bridge itself sends: to all its ports, the uplink among them.
			errs = append(errs, unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: br.Index}))
		}
		return errors.Join(errs...)
	}
	if err := round(); err != nil {
		unix.Close(fd)
		return fmt.Errorf("announce %s: %w", c.Host, err)
	}
	go func() {
		defer unix.Close(fd)
		t := time.NewTicker(announceEvery)
		defer t.Stop()
		for range announcements - 1 {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				_ = round() // the first round got through
			}
		}
	}()
	return nil
}

func announcementsOf(c Config) ([][]byte, error) {
	mac, err := net.ParseMAC(c.MAC)
	if err != nil || len(mac) != 6 {
		return nil, fmt.Errorf("%q is no Ethernet address", c.MAC)
	}
	var frames [][]byte
	for _, s := range c.Addresses {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, err
		}
		if p.Addr().Is4() {
			frames = append(frames, gratuitousARP(mac, p.Addr()))
		} else {
			frames = append(frames, unsolicitedNA(mac, p.Addr()))
		}
	}
	if len(frames) == 0 {
		frames = append(frames, rarp(mac))
	}
	return frames, nil
}

var broadcast = []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func ether(dst []byte, src net.HardwareAddr, typ uint16) []byte {
	f := append(append([]byte{}, dst...), src...)
	return binary.BigEndian.AppendUint16(f, typ)
}

func arpBody(f []byte, op uint16, sha net.HardwareAddr, spa []byte, tha net.HardwareAddr, tpa []byte) []byte {
	f = append(f, 0, 1, 8, 0, 6, 4)
	f = binary.BigEndian.AppendUint16(f, op)
	f = append(append(f, sha...), spa...)
	f = append(append(f, tha...), tpa...)
	return append(f, make([]byte, 60-len(f))...) // the least length of an Ethernet frame
}

// gratuitousARP asks for its own address (RFC 5227 announcement): receivers that know it take the sender's.
func gratuitousARP(mac net.HardwareAddr, ip netip.Addr) []byte {
	return arpBody(ether(broadcast, mac, etherTypeARP), arpRequest, mac, ip.AsSlice(), make([]byte, 6), ip.AsSlice())
}

// rarp is what hypervisors send for guests whose address they do not know.
func rarp(mac net.HardwareAddr) []byte {
	zero := make([]byte, 4)
	return arpBody(ether(broadcast, mac, 0x8035), 3, mac, zero, mac, zero)
}

// unsolicitedNA is a neighbour advertisement to all nodes with the override flag (RFC 4861, 7.2.6).
func unsolicitedNA(mac net.HardwareAddr, ip netip.Addr) []byte {
	allNodes := netip.MustParseAddr("ff02::1")
	icmp := []byte{136, 0, 0, 0, 0x20, 0, 0, 0}
	icmp = append(icmp, ip.AsSlice()...)
	icmp = append(append(icmp, 2, 1), mac...)

	pseudo := append(append([]byte{}, ip.AsSlice()...), allNodes.AsSlice()...)
	pseudo = append(binary.BigEndian.AppendUint32(pseudo, uint32(len(icmp))), 0, 0, 0, 58)
	binary.BigEndian.PutUint16(icmp[2:], checksum(append(pseudo, icmp...)))

	f := ether([]byte{0x33, 0x33, 0, 0, 0, 1}, mac, 0x86dd)
	f = append(f, 0x60, 0, 0, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(len(icmp)))
	f = append(f, 58, 255)
	f = append(append(f, ip.AsSlice()...), allNodes.AsSlice()...)
	return append(f, icmp...)
}

// checksum is the Internet checksum of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
