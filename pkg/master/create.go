package master

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/scheduler"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// decodeSpec reads a spec that a client sent.
func decodeSpec(b []byte) (cluster.Spec, error) {
	var spec cluster.Spec
	if len(b) > 64<<10 {
		return spec, invalid("spec", "", "larger than 64 KiB", "send less")
	}
	if err := json.Unmarshal(b, &spec); err != nil {
		return spec, invalid("spec", "", "not a container's spec: "+err.Error(), "send cluster.Spec as JSON")
	}
	if spec.Net.MAC != "" {
		mac, err := net.ParseMAC(spec.Net.MAC)
		if err != nil {
			return spec, invalid("mac", spec.Net.MAC, "not an Ethernet address", "leave it out: the cluster chooses one")
		}
		spec.Net.MAC = strings.ToLower(mac.String())
	}
	return spec, nil
}

// CreateContainer implements the Cluster service.
func (s *service) CreateContainer(ctx context.Context, r *vzpb.CreateContainerRequest) (*vzpb.ContainerResponse, error) {
	spec, err := decodeSpec(r.SpecJson)
	if err != nil {
		return nil, err
	}
	spec = spec.WithDefaults()
	check := cluster.ValidateName
	if cluster.AllDigits(r.Name) {
		check = cluster.ValidateCTID
	}
	if err := check(r.Name); err != nil {
		return nil, toStatus(err)
	}
	if err := spec.Validate(); err != nil {
		return nil, toStatus(err)
	}
	var planned cluster.Container
	st, ctid, _, err := s.mutate(ctx, "CreateContainer", r, func(tx *store.Tx, now time.Time) (string, error) {
		c, err := s.newContainer(tx, r.Name, r.On, spec, now)
		if err != nil {
			return "", err
		}
		planned = c
		if r.DryRun {
			return "", errDryRun
		}
		tx.Containers().Put(c)
		tx.Gone().Delete(c.CTID)
		return c.CTID, nil
	})
	if r.DryRun && errors.Is(err, errDryRun) {
		return containerResponse(planned, sight{})
	}
	if err != nil {
		return nil, err
	}
	return s.containerNow(st, ctid)
}

// newContainer makes the record: names, numbers, addresses, place.
func (s *service) newContainer(tx *store.Tx, name, on string, spec cluster.Spec, now time.Time) (cluster.Container, error) {
	c := cluster.Container{Spec: spec, Want: cluster.WantStopped, State: cluster.ContainerCreating, Epoch: 1, SpecGen: 1, Created: now, Changed: now}
	if other, ok := tx.FindContainer(name); ok {
		return c, status.Errorf(codes.AlreadyExists, "container %s exists already (on %s); choose another name or CTID", label(other), other.Node)
	}
	tmpl, ok := tx.Templates().Get(spec.Template)
	if !ok {
		return c, notFound("template %q: unknown; 'template list' shows the templates, 'template import' adds one", spec.Template)
	}
	c.Digest = tmpl.Digest
	var err error
	if cluster.AllDigits(name) {
		c.CTID = name
	} else if c.CTID, err = freeCTID(tx, s.held()); err != nil {
		return c, err
	} else {
		c.Name = name
	}
	if gone, ok := tx.Gone().Get(c.CTID); ok {
		c.Epoch = gone.Epoch + 1 // no old copy that turns up somewhere may be taken for this container
	}
	if at, ok := s.held()[c.CTID]; ok && at.epoch >= c.Epoch {
		return c, refuse("container %s: node %s holds a copy of it that the records don't know; choose another CTID", c.CTID, at.node)
	}
	slot, err := freeSlot(tx)
	if err != nil {
		return c, err
	}
	if !spec.Privileged {
		c.IDBase = idBase(slot)
	}
	if c.Spec.Net.MAC == "" {
		c.Spec.Net.MAC = macAddr(tx.Meta().ClusterID, slot)
	}
	if c.Spec.Hostname == "" {
		if c.Spec.Hostname = c.Name; c.Name == "" {
			c.Spec.Hostname = "ct" + c.CTID
		}
	}
	if err := checkAddresses(tx, c.CTID, c.Spec.Net); err != nil {
		return c, err
	}
	c.Node, err = s.place(tx, on, spec.Resources)
	return c, err
}

// place chooses the node, or checks the one that was asked for.
func (s *service) place(tx *store.Tx, on string, need cluster.Resources) (string, error) {
	snap, req := s.txSnapshot(tx, ""), scheduler.Request{Need: need}
	if on == "" {
		node, _, err := scheduler.Place(snap, req)
		return node, err
	}
	if _, ok := tx.Nodes().Get(on); !ok {
		return "", unknownNode(on)
	}
	return on, scheduler.Check(snap, req, on)
}

// containerNow answers with a container's present record. One that is gone by now (a repeated destroy) is named only.
func (s *service) containerNow(st *store.State, ctid string) (*vzpb.ContainerResponse, error) {
	c, ok := st.Containers().Get(ctid)
	if !ok {
		c = cluster.Container{CTID: ctid, State: cluster.ContainerDestroying, Want: cluster.WantStopped}
	}
	var seen sight
	if t := s.m.term.Load(); t != nil {
		seen, _ = t.live.sight()
	}
	return containerResponse(c, seen)
}
