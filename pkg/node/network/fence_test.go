package network

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// bridged puts the test's thread into a network namespace of its own, with a bridge and a process in another one that stands for a container.
func bridged(t *testing.T) (c Config, pid int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network devices need root")
	}
	runtime.LockOSThread() // never unlocked: the thread goes with the test
	old, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := netns.New(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netns.Set(old); old.Close() })
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0", HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}}
	if err := netlink.LinkAdd(br); err != nil {
		t.Fatal(err)
	}
	// A port that is always up: a bridge without one has no carrier, and takes a while to notice that it gets one.
	up := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "up0", MasterIndex: mustIndex(t, "br0")}, PeerName: "up1"}
	if err := netlink.LinkAdd(up); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"up0", "up1"} {
		if err := netlink.LinkSetUp(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	addr, _ := netlink.ParseAddr("10.79.0.1/24")
	if err := netlink.AddrAdd(br, addr); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(br); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		l, err := netlink.LinkByName("br0")
		if err == nil && l.Attrs().OperState == netlink.OperUp {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the bridge does not come up")
		}
	}
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return Config{Bridge: "br0", Host: "vz101", MAC: testMAC.String(), Addresses: []string{"10.79.0.5/24"}, Gateway: "10.79.0.1"}, cmd.Process.Pid
}

func mustIndex(t *testing.T, name string) int {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l.Attrs().Index
}

// sniffer returns what comes in at the container's end.
func sniffer(t *testing.T, pid int) int {
	t.Helper()
	ours, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	theirs, err := netns.GetFromPid(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if err := netns.Set(theirs); err != nil {
		t.Fatal(err)
	}
	const all = 0x0300 // ETH_P_ALL in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, all)
	if berr := netns.Set(ours); berr != nil || err != nil {
		t.Fatal(err, berr)
	}
	t.Cleanup(func() { unix.Close(fd) })
	must(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20))
	return fd
}

// seen counts frames with this payload until some came and no more do, or for a moment if none comes.
func seen(fd int, payload []byte, want int) (n int) {
	buf := make([]byte, 2000)
	for deadline := time.Now().Add(2 * time.Second); n < want && time.Now().Before(deadline); {
		m, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		if bytes.HasSuffix(buf[:m], payload) {
			n++
		}
	}
	return n
}

// send sends frames from the bridge to the container.
func send(t *testing.T, payload []byte, times int) {
	t.Helper()
	br, err := net.InterfaceByName("br0")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	f := append(ether(testMAC, otherMAC, 0x88b5), payload...) // a type for local experiments
	for range times {
		if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: br.Index}); err != nil {
			t.Fatal(err)
		}
	}
}

func (h *Holder) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.held)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFenceHoldsAndGivesBack(t *testing.T) {
	c, pid := bridged(t)
	must(t, Attach(context.Background(), c, pid))
	in := sniffer(t, pid)
	must(t, OpenPort(c))
	payload := []byte("a frame of the container's, long enough not to be padded by anybody")
	send(t, payload, 1)
	if seen(in, payload, 1) != 1 {
		t.Fatal("an open port lets nothing in")
	}
	h, err := NewHolder(c)
	must(t, err)
	must(t, h.Redirect())
	must(t, ClosePort(c))
	must(t, h.Loosen())
	const frames = 300
	send(t, payload, frames)
	for deadline := time.Now().Add(5 * time.Second); h.count() < frames; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d frames are held", h.count(), frames)
		}
	}
	if n := seenNow(in, payload); n != 0 {
		t.Errorf("%d frames got in through a closed port", n)
	}
	must(t, OpenPort(c))
	held, dropped, err := h.PutBack()
	must(t, err)
	if held != frames || dropped != 0 {
		t.Errorf("held %d, dropped %d", held, dropped)
	}
	// Not under their sender's address: the LAN's switches would learn that the sender is here, and lose the answers to it.
	if n := seen(in, slices.Concat(h.own, []byte{0x88, 0xb5}, payload), frames); n != frames {
		t.Errorf("%d of %d frames were delivered, as coming from the holder", n, frames)
	}
	must(t, h.Close())
	if _, err := netlink.LinkByName(holderName(c)); err == nil {
		t.Error("the tap device is left")
	}
	send(t, payload, 1)
	if seen(in, payload, 1) != 1 {
		t.Error("nothing gets in after the fence")
	}
}

// seenNow counts what has come in already.
func seenNow(fd int, payload []byte) (n int) {
	buf := make([]byte, 2000)
	for {
		m, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return n
		}
		if bytes.HasSuffix(buf[:m], payload) {
			n++
		}
	}
}

// TestPortOpensWithoutItsHolder is the abort by an agent that was started after the fence: nothing may be sent into the void.
func TestPortOpensWithoutItsHolder(t *testing.T) {
	c, pid := bridged(t)
	must(t, Attach(context.Background(), c, pid))
	in := sniffer(t, pid)
	h, err := NewHolder(c)
	must(t, err)
	must(t, h.Redirect())
	must(t, ClosePort(c))
	must(t, h.Close())
	must(t, OpenPort(c))
	must(t, OpenPort(c))
	payload := []byte("a frame of the container's, long enough not to be padded by anybody")
	send(t, payload, 1)
	if seen(in, payload, 1) != 1 {
		t.Error("nothing gets in")
	}
}

func TestUnpluggedIsApart(t *testing.T) {
	c, pid := bridged(t)
	c.Unplugged = true
	must(t, Attach(context.Background(), c, pid))
	in := sniffer(t, pid)
	payload := []byte("a frame of the container's, long enough not to be padded by anybody")
	send(t, payload, 1)
	must(t, Plug(c))
	if n := seenNow(in, payload); n != 0 {
		t.Errorf("%d frames got into an unplugged device", n)
	}
	send(t, payload, 1)
	if seen(in, payload, 1) != 1 {
		t.Error("nothing gets into a plugged one")
	}
	must(t, Announce(context.Background(), c))
	must(t, Forget(c))
	must(t, Forget(c))
	must(t, Detach(c.Host))
	must(t, Detach(c.Host))
}
