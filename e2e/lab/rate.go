package lab

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// RateOff lifts the limit of a host's link.
const RateOff = "off"

// Rate caps the host's link, both directions, at a rate such as "1gbit" or "100mbit" (bits per second); RateOff lifts it.
// It is kept over power-offs.
func (l *Lab) Rate(host, rate string) error {
	if rate != RateOff {
		if _, err := parseRate(rate); err != nil {
			return err
		}
	}
	return l.update(func(s *state) error {
		h, err := s.host(host)
		if err != nil {
			return err
		}
		if h.Kind == lanHost {
			return fmt.Errorf("rate %s: %w", host, errNoHost)
		}
		h.Rate = rate
		if rate == RateOff {
			h.Rate = ""
		}
		if !h.alive() {
			return nil // boot applies it
		}
		return setRate(s, h, rate)
	})
}

// parseRate returns bytes per second.
func parseRate(s string) (uint64, error) {
	number, unit := s, uint64(1)
	for suffix, bits := range map[string]uint64{"kbit": 1e3, "mbit": 1e6, "gbit": 1e9} {
		if n, ok := strings.CutSuffix(s, suffix); ok {
			number, unit = n, bits
		}
	}
	if unit == 1 {
		number = strings.TrimSuffix(s, "bit")
	}
	n, err := strconv.ParseFloat(number, 64)
	if bits := n * float64(unit); err != nil || !(bits >= 8e3 && bits <= 1e11) {
		return 0, fmt.Errorf("rate %q: want e.g. 1gbit or 500kbit, from 8kbit to 100gbit, or off", s)
	}
	return uint64(n * float64(unit) / 8), nil
}

// setRate shapes what leaves each end of the host's link: that is both directions.
func setRate(s *state, h *Host, rate string) error {
	lanH, err := s.host(lanHost)
	if err != nil {
		return err
	}
	for _, end := range []struct {
		host *Host
		link string
	}{{lanH, lanPort(h.Name)}, {h, uplink}} {
		n, err := openNet(end.host)
		if err != nil {
			return err
		}
		err = n.shape(end.link, rate)
		n.Close()
		if err != nil {
			return fmt.Errorf("rate of %s: %w", h.Name, err)
		}
	}
	return nil
}

func (n *hostNet) shape(name, rate string) error {
	link, err := n.LinkByName(name)
	if err != nil {
		return err
	}
	attrs := netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT}
	if rate == RateOff {
		err := n.QdiscDel(&netlink.GenericQdisc{QdiscAttrs: attrs, QdiscType: "tbf"})
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
			return nil // there was none
		}
		return err
	}
	perSecond, err := parseRate(rate)
	if err != nil {
		return err
	}
	// The bucket must hold a whole offloaded segment (64 KiB) and 4 ms of traffic; the queue 50 ms, as a switch would.
	burst := max(perSecond/250, 96<<10)
	limit := burst + max(perSecond/20, 128<<10)
	return n.QdiscReplace(&netlink.Tbf{
		QdiscAttrs: attrs,
		Rate:       perSecond,
		Buffer:     netlink.Xmittime(perSecond, uint32(burst)),
		Limit:      uint32(limit),
	})
}
