package master

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// directive works out everything that the cluster wants of one node: a pure function of the records and of what was reported. The
// lease (ack, term, times) is the session's part.
func directive(st *store.State, node string, seen sight) (*vzpb.Directive, error) {
	d := &vzpb.Directive{Complete: true}
	for c := range st.Containers().All() {
		if c.Node != node || c.Adopt {
			continue
		}
		b, err := json.Marshal(c)
		if err != nil {
			return nil, fmt.Errorf("container %s: %w", c.CTID, err)
		}
		d.Containers = append(d.Containers, &vzpb.Assignment{Ctid: c.CTID, Epoch: uint64(c.Epoch), Json: b,
			Destroy: c.State == cluster.ContainerDestroying})
	}
	if err := addMigrations(d, st, node, seen.nodes[node]); err != nil {
		return nil, err
	}
	d.Discards = discards(st, node, seen)
	d.Templates = templateWants(st, node, seen)
	return d, nil
}

// addMigrations adds every open migration that the node takes part in, and the verdict of every closed one that it still reports.
func addMigrations(d *vzpb.Directive, st *store.State, node string, r *report) error {
	for m := range st.Migrations().All() {
		role, peer := "", ""
		switch node {
		case m.Source:
			role, peer = roleSource, m.Target
		case m.Target:
			role, peer = roleTarget, m.Source
		default:
			continue
		}
		if m.Closed {
			if r == nil {
				continue
			}
			if _, asks := r.Migrations[m.ID]; !asks {
				continue
			}
		}
		if c, ok := st.Containers().Get(m.CTID); ok && c.Adopt {
			continue // no verdict before the facts are known
		}
		b, err := json.Marshal(m)
		if err != nil {
			return fmt.Errorf("migration %s: %w", m.ID, err)
		}
		a := &vzpb.MigrationAssignment{Id: m.ID, Role: role, Json: b}
		if c, ok := st.Containers().Get(m.CTID); ok {
			if a.ContainerJson, err = json.Marshal(c); err != nil {
				return fmt.Errorf("container %s: %w", c.CTID, err)
			}
		}
		if p, ok := st.Nodes().Get(peer); ok {
			a.PeerAddr = p.Info.Address
		}
		d.Migrations = append(d.Migrations, a)
	}
	return nil
}

// discards lists the copies on the node that the records prove dead (R6). What is not proven dead is left alone.
func discards(st *store.State, node string, seen sight) []*vzpb.Discard {
	r := seen.nodes[node]
	if r == nil {
		return nil
	}
	var out []*vzpb.Discard
	for _, cp := range r.Copies {
		if inMigration(st, r, cp.CTID) {
			continue // the migration's own orders take care of its copies
		}
		if dead(st, node, cp, seen) {
			out = append(out, &vzpb.Discard{Ctid: cp.CTID, Epoch: uint64(cp.Epoch)})
		}
	}
	return out
}

// inMigration tells whether the container has an open migration, or the node still reports an attempt to move it that the records know.
func inMigration(st *store.State, r *report, ctid string) bool {
	if c, ok := st.Containers().Get(ctid); ok && c.Migration != "" {
		return true
	}
	for id := range r.Migrations {
		if m, ok := st.Migrations().Get(id); ok && m.CTID == ctid {
			return true
		}
	}
	return false
}

// dead tells whether a copy on node is proven to be of no use.
func dead(st *store.State, node string, cp copyReport, seen sight) bool {
	c, ok := st.Containers().Get(cp.CTID)
	if !ok {
		gone, known := st.Gone().Get(cp.CTID)
		return known && cp.Epoch <= gone.Epoch
	}
	if c.Adopt || cp.Epoch >= c.Epoch {
		return false
	}
	if c.Node == node && cp.State != cluster.CopyRetired && cp.State != cluster.CopyStaged {
		return false // the container itself, which has not taken its new epoch over yet
	}
	own, there := seen.nodes[c.Node].find(cp.CTID)
	return there && own.Epoch >= c.Epoch && (own.State == cluster.CopyRunning || own.State == cluster.CopyStopped)
}

// templateWants lists every template, with the nodes that have it: each node keeps all, so that any may be placed on.
func templateWants(st *store.State, node string, seen sight) []*vzpb.TemplateWant {
	var out []*vzpb.TemplateWant
	for t := range st.Templates().All() {
		w := &vzpb.TemplateWant{Name: t.Name, Digest: t.Digest, Size: t.Size}
		for n := range st.Nodes().All() {
			if r := seen.nodes[n.Name]; n.Name != node && n.State == cluster.NodeOnline && r != nil && r.Templates[t.Digest] {
				w.Peers = append(w.Peers, n.Info.Address)
			}
		}
		slices.SortFunc(w.Peers, strings.Compare)
		out = append(out, w)
	}
	return out
}

// fingerprint is equal for equal directives.
func fingerprint(d *vzpb.Directive) (string, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(d)
	return string(b), err
}
