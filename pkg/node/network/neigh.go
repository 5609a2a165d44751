package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/vishvananda/netns"
)

// A restored socket may have something to say while its device is still unplugged: then the kernel has asked for its peer's address in
// vain, keeps the packet, and would ask again only after a second, during which a client waits for nothing. So in an unplugged device
// the questions are frequent, and do not end for a minute.
const (
	hastyRetransMS = 20
	hastySolicits  = 3000
	untouched      = "lo" // a device with the kernel's own values; "default" is only in the host's first namespace
)

// Calm gives a device that was plugged in the kernel's own pace of asking for neighbours. pid is in its network namespace.
func Calm(pid int) error {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("network namespace of %d: %w", pid, err)
	}
	defer ns.Close()
	return within(ns, func() error {
		var errs []error
		for _, family := range []string{"ipv4", "ipv6"} {
			for _, name := range []string{"retrans_time_ms", "mcast_solicit"} {
				v, err := os.ReadFile(neighPath(family, untouched, name))
				if err == nil {
					err = os.WriteFile(neighPath(family, guestName, name), v, 0)
				}
				if !errors.Is(err, fs.ErrNotExist) { // no such family, or no device any more
					errs = append(errs, err)
				}
			}
		}
		return errors.Join(errs...)
	})
}

// hasten is the contrary of [Calm].
func hasten(ns netns.NsHandle) error {
	return within(ns, func() error {
		var errs []error
		for _, family := range []string{"ipv4", "ipv6"} {
			for name, v := range map[string]int{"retrans_time_ms": hastyRetransMS, "mcast_solicit": hastySolicits} {
				err := os.WriteFile(neighPath(family, guestName, name), []byte(strconv.Itoa(v)), 0)
				if !errors.Is(err, fs.ErrNotExist) {
					errs = append(errs, err)
				}
			}
		}
		return errors.Join(errs...)
	})
}

// neighPath leads to a setting of the network namespace of the thread that opens it.
func neighPath(family, device, name string) string {
	return filepath.Join("/proc/sys/net", family, "neigh", device, name)
}

// within runs fn on a thread in a network namespace.
func within(ns netns.NsHandle, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and nobody else gets it in that namespace
		if err := netns.Set(ns); err != nil {
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		done <- fn()
	}()
	return <-done
}
