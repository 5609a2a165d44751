package master

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
)

// Id ranges of containers on the hosts: each has a slot of its own in the whole cluster, so that it keeps its ids wherever it goes.
const (
	firstID  = 1000000
	maxSlots = (1<<32 - 1 - firstID) / cluster.IDRange // also fits the two bytes of a MAC address
)

// heldCopy is the newest copy of a container that some node reports.
type heldCopy struct {
	node  string
	epoch cluster.Epoch
}

// held lists what the nodes report, by CTID: after a restore they may hold containers that the records have never known.
func (s *service) held() map[string]heldCopy {
	out := map[string]heldCopy{}
	t := s.m.term.Load()
	if t == nil {
		return out
	}
	seen, _ := t.live.sight()
	for node, r := range seen.nodes {
		if r == nil {
			continue
		}
		for _, c := range r.Copies {
			if have, ok := out[c.CTID]; !ok || c.Epoch > have.epoch {
				out[c.CTID] = heldCopy{node, c.Epoch}
			}
		}
	}
	return out
}

// freeCTID returns the lowest number that no container has or had.
func freeCTID(tx *store.Tx, held map[string]heldCopy) (string, error) {
	taken := map[string]bool{}
	for ctid := range held {
		taken[ctid] = true
	}
	for c := range tx.Containers().All() {
		taken[c.CTID] = true
	}
	for g := range tx.Gone().All() {
		taken[g.CTID] = true
	}
	for n := cluster.MinCTID; n <= cluster.MaxCTID; n++ {
		if ctid := strconv.Itoa(n); !taken[ctid] {
			return ctid, nil
		}
	}
	return "", refuse("no CTID is free")
}

// slotOf is the inverse of idBase and of macAddr: every container has a slot, the privileged ones for their MAC address only.
func slotOf(c cluster.Container) (int, bool) {
	if c.IDBase >= firstID {
		return int(c.IDBase-firstID) / cluster.IDRange, true
	}
	var a, b, d, e, hi, lo int
	if n, err := fmt.Sscanf(c.Spec.Net.MAC, "%02x:%02x:%02x:%02x:%02x:%02x", &a, &b, &d, &e, &hi, &lo); n == 6 && err == nil {
		return hi<<8 | lo, true
	}
	return 0, false
}

// freeSlot returns the lowest slot that no container uses.
func freeSlot(tx *store.Tx) (int, error) {
	taken := map[int]bool{}
	for c := range tx.Containers().All() {
		if s, ok := slotOf(c); ok {
			taken[s] = true
		}
	}
	for s := range maxSlots {
		if !taken[s] {
			return s, nil
		}
	}
	return 0, refuse("all %d id ranges are in use; destroy a container", maxSlots)
}

func idBase(slot int) uint32 { return uint32(firstID + slot*cluster.IDRange) }

// macAddr is locally administered, and differs between clusters on one network with good probability.
func macAddr(clusterID string, slot int) string {
	h := sha256.Sum256([]byte(clusterID))
	return fmt.Sprintf("02:76:7a:%02x:%02x:%02x", h[0], slot>>8&0xff, slot&0xff)
}

// checkAddresses refuses an address or MAC that another container has.
func checkAddresses(tx *store.Tx, ctid string, n cluster.Network) error {
	want := map[netip.Addr]string{}
	for _, a := range n.Addresses {
		if p, err := netip.ParsePrefix(a); err == nil {
			want[p.Addr()] = a
		}
	}
	for c := range tx.Containers().All() {
		if c.CTID == ctid {
			continue
		}
		if n.MAC != "" && c.Spec.Net.MAC == n.MAC {
			return refuse("mac %s: container %s has it; leave it out and the cluster chooses one", n.MAC, label(c))
		}
		for _, a := range c.Spec.Net.Addresses {
			if p, err := netip.ParsePrefix(a); err == nil && want[p.Addr()] != "" {
				return refuse("ipadd %s: container %s has this address; choose another", want[p.Addr()], label(c))
			}
		}
	}
	return nil
}

// label names a container for people.
func label(c cluster.Container) string {
	if c.Name == "" {
		return c.CTID
	}
	return c.CTID + " (" + c.Name + ")"
}
