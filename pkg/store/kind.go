package store

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// Keys are "kind/id", values are JSON:
//
//	container/CTID     cluster.Container
//	node/NAME          cluster.Node
//	migration/ID       cluster.Migration
//	template/NAME      cluster.Template
//	operation/KEY      cluster.Operation
//	master/ID          cluster.Master      ID is that of the raft server
//	counter/NAME       Counter
//	gone/CTID          cluster.Gone        what is remembered of a destroyed container
//	meta/cluster       Meta                with the number of the format of all this
//	guard/KIND         {}                  its revision is that of the last write to any record of the kind
//
// A kind that this binary does not know is left alone.
const (
	guardKind  = "guard"
	metaKind   = "meta"
	metaKey    = metaKind + "/cluster"
	guardValue = "{}"
)

// MetaKey is the key of the [Meta] record.
const MetaKey = metaKey

// Meta is the record of the cluster itself.
type Meta struct {
	ClusterID string    `json:"cluster_id"` // 32 hex digits, made when the first leader founded the cluster
	Format    int       `json:"format"`     // of the records; see [Format]. Its name and meaning are for ever
	Created   time.Time `json:"created"`

	// TermBase is added to the terms of the log: agents remember the highest term that they obeyed, and the log that the state was
	// moved to or restored into counts from its own beginning.
	TermBase uint64 `json:"term_base,omitempty"`
}

// Counter is a number that only grows, for ids that must never be used twice. See [Tx.Next].
type Counter struct {
	Name  string `json:"name"`
	Value uint64 `json:"value"`
}

// kind is what the store must know of one type of record.
type kind[T any] struct {
	name  string
	id    func(*T) string
	clone func(T) T // deep: what is handed out shares nothing with the snapshot that a reader could change
}

var (
	containerKind = kind[cluster.Container]{"container", func(c *cluster.Container) string { return c.CTID }, cloneContainer}
	nodeKind      = kind[cluster.Node]{"node", func(n *cluster.Node) string { return n.Name }, cloneNode}
	migrationKind = kind[cluster.Migration]{"migration", func(m *cluster.Migration) string { return m.ID }, cloneMigration}
	templateKind  = kind[cluster.Template]{"template", func(t *cluster.Template) string { return t.Name }, same[cluster.Template]}
	operationKind = kind[cluster.Operation]{"operation", func(o *cluster.Operation) string { return o.Key }, same[cluster.Operation]}
	masterKind    = kind[cluster.Master]{"master", func(m *cluster.Master) string { return m.ID }, same[cluster.Master]}
	goneKind      = kind[cluster.Gone]{"gone", func(g *cluster.Gone) string { return g.CTID }, same[cluster.Gone]}
	counterKind   = kind[Counter]{"counter", func(c *Counter) string { return c.Name }, same[Counter]}
)

// key is the key of the record with id.
func (k *kind[T]) key(id string) string { return k.name + "/" + id }

// guard is the key whose revision moves with every write to the kind.
func (k *kind[T]) guard() string { return guardKind + "/" + k.name }

func (k *kind[T]) decode(id string, value []byte) (T, error) {
	var v T
	if err := json.Unmarshal(value, &v); err != nil {
		return v, fmt.Errorf("decode %s: %w", k.key(id), err)
	}
	if got := k.id(&v); got != id {
		return v, fmt.Errorf("decode %s: the record says that its id is %q", k.key(id), got)
	}
	return v, nil
}

// MasterAddr reads the API address out of the stored value of a cluster.Master, for a [Log] that tells where the leader is.
func MasterAddr(value []byte) (string, bool) {
	var m cluster.Master
	if json.Unmarshal(value, &m) != nil {
		return "", false
	}
	return m.APIAddr, m.APIAddr != ""
}

// MasterKey is the key of the cluster.Master record of the raft server id.
func MasterKey(id string) string { return masterKind.key(id) }

// splitKey takes a key apart; an id may contain slashes, a kind may not.
func splitKey(key string) (kind, id string) {
	kind, id, _ = strings.Cut(key, "/")
	return kind, id
}

func same[T any](v T) T { return v }

func cloneContainer(c cluster.Container) cluster.Container {
	c.Spec.Net.Addresses = slices.Clone(c.Spec.Net.Addresses)
	c.Spec.Net.Nameserver = slices.Clone(c.Spec.Net.Nameserver)
	c.Spec.Init = slices.Clone(c.Spec.Init)
	return c
}

func cloneNode(n cluster.Node) cluster.Node {
	n.Info.Features.CPUFlags = slices.Clone(n.Info.Features.CPUFlags)
	n.Info.Features.Transfer = slices.Clone(n.Info.Features.Transfer)
	return n
}

func cloneMigration(m cluster.Migration) cluster.Migration {
	m.From.Stages = slices.Clone(m.From.Stages)
	m.To.Stages = slices.Clone(m.To.Stages)
	return m
}
