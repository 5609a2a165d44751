package network

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

var (
	testMAC   = net.HardwareAddr{2, 0x76, 0x7a, 0, 0, 5}
	otherMAC  = net.HardwareAddr{2, 0, 0, 0, 0, 9}
	testIP    = netip.MustParseAddr("10.79.0.5")
	otherIP   = netip.MustParseAddr("10.79.0.9")
	testGuest = &Holder{mac: testMAC, addrs: [][]byte{testIP.AsSlice()}}
)

func arp(dst []byte, from netip.Addr, to netip.Addr, op uint16) []byte {
	return arpBody(ether(dst, otherMAC, etherTypeARP), op, otherMAC, from.AsSlice(), make([]byte, 6), to.AsSlice())
}

func TestHolderTakesWhatIsForItsContainer(t *testing.T) {
	mine := ether(testMAC, otherMAC, 0x0800)
	for _, tc := range []struct {
		name  string
		frame []byte
		want  []byte // nil: left alone
	}{
		{"to its address", mine, mine},
		{"to another", ether(otherMAC, testMAC, 0x0800), nil},
		{"a question for its address", arp(broadcast, otherIP, testIP, arpRequest), arp(testMAC, otherIP, testIP, arpRequest)},
		{"a question for another", arp(broadcast, otherIP, otherIP, arpRequest), nil},
		{"an answer", arp(broadcast, otherIP, testIP, 2), nil},
		{"the target's announcement", gratuitousARP(testMAC, testIP), nil},
		{"a short one", mine[:10], nil},
		{"nothing", nil, nil},
	} {
		if got := testGuest.forContainer(bytes.Clone(tc.frame)); !bytes.Equal(got, tc.want) {
			t.Errorf("%s: %x, want %x", tc.name, got, tc.want)
		}
	}
}

func TestHolderReadsAnyFrame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		frame := rapid.SliceOfN(rapid.Byte(), 0, 80).Draw(t, "frame")
		if rapid.Bool().Draw(t, "arp") && len(frame) >= etherLen {
			copy(frame[12:], []byte{0x08, 0x06})
		}
		if rapid.Bool().Draw(t, "mine") {
			copy(frame, testMAC)
		}
		got := testGuest.forContainer(bytes.Clone(frame))
		if got != nil && !bytes.Equal(got[:6], testMAC) {
			t.Fatalf("%x would be put back to another", got)
		}
		if bytes.HasPrefix(frame, testMAC) && len(frame) >= etherLen && !bytes.Equal(got, frame) {
			t.Fatalf("%x was changed to %x", frame, got)
		}
	})
}

func TestAnnouncements(t *testing.T) {
	c := Config{Host: "vz1", MAC: testMAC.String(), Addresses: []string{"10.79.0.5/24", "fd79::5/64"}}
	frames, err := announcementsOf(c)
	if err != nil || len(frames) != 2 {
		t.Fatalf("%d frames: %v", len(frames), err)
	}
	for _, f := range frames {
		if !bytes.Equal(f[6:12], testMAC) {
			t.Errorf("%x does not come from the container: switches learn nothing", f)
		}
	}
	na := frames[1]
	if sum := pseudoSum(na); sum != 0 {
		t.Errorf("checksum of the advertisement: %#x left", sum)
	}
	c.Addresses = nil
	if frames, err = announcementsOf(c); err != nil || len(frames) != 1 || frames[0][12] != 0x80 || frames[0][13] != 0x35 {
		t.Errorf("without an address: %x, %v", frames, err)
	}
	c.MAC = "nonsense"
	if _, err := announcementsOf(c); err == nil {
		t.Error("announced a MAC address that is none")
	}
}

// pseudoSum is what is left of the ICMPv6 checksum of a frame: 0 if it is right.
func pseudoSum(frame []byte) uint16 {
	ip := frame[etherLen:]
	icmp := ip[40:]
	pseudo := append(bytes.Clone(ip[8:40]), 0, 0, 0, byte(len(icmp)), 0, 0, 0, 58)
	return checksum(append(pseudo, icmp...))
}
