package store

import (
	"encoding/json"
	"fmt"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// State is an immutable snapshot of all records at one revision. It may be kept and shared; what it hands out are copies.
type State struct {
	rev        Rev
	meta       Meta
	metaRev    Rev
	containers Table[cluster.Container]
	names      nameIndex
	nodes      Table[cluster.Node]
	migrations Table[cluster.Migration]
	templates  Table[cluster.Template]
	operations Table[cluster.Operation]
	masters    Table[cluster.Master]
	counters   Table[Counter]
	gone       Table[cluster.Gone]
	guards     map[string]Rev // by guard key; shared between snapshots until one changes
}

func newState() *State {
	return &State{
		containers: Table[cluster.Container]{kind: &containerKind},
		nodes:      Table[cluster.Node]{kind: &nodeKind},
		migrations: Table[cluster.Migration]{kind: &migrationKind},
		templates:  Table[cluster.Template]{kind: &templateKind},
		operations: Table[cluster.Operation]{kind: &operationKind},
		masters:    Table[cluster.Master]{kind: &masterKind},
		counters:   Table[Counter]{kind: &counterKind},
		gone:       Table[cluster.Gone]{kind: &goneKind},
	}
}

// Rev is the revision of the snapshot: everything committed up to it is in it.
func (s *State) Rev() Rev { return s.rev }

// Meta returns the record of the cluster and its revision, 0 before the first leader has written it.
func (s *State) Meta() (Meta, Rev) { return s.meta, s.metaRev }

// Containers are keyed by CTID.
func (s *State) Containers() Table[cluster.Container] { return s.containers }

// Nodes are keyed by name.
func (s *State) Nodes() Table[cluster.Node] { return s.nodes }

// Migrations are keyed by id.
func (s *State) Migrations() Table[cluster.Migration] { return s.migrations }

// Templates are keyed by name.
func (s *State) Templates() Table[cluster.Template] { return s.templates }

// Operations are keyed by the key that the client chose.
func (s *State) Operations() Table[cluster.Operation] { return s.operations }

// Masters are keyed by raft server id.
func (s *State) Masters() Table[cluster.Master] { return s.masters }

// Counters are keyed by name.
func (s *State) Counters() Table[Counter] { return s.counters }

// Gone are the destroyed containers that are still remembered, keyed by CTID.
func (s *State) Gone() Table[cluster.Gone] { return s.gone }

// ContainerByName returns the container with a name, and whether there is one.
func (s *State) ContainerByName(name string) (cluster.Container, bool) {
	if ctid, ok := s.names.find(name); ok {
		return s.containers.Get(ctid)
	}
	return cluster.Container{}, false
}

// FindContainer looks ref up as a CTID and then as a name; a name never looks like a CTID.
func (s *State) FindContainer(ref string) (cluster.Container, bool) {
	if c, ok := s.containers.Get(ref); ok {
		return c, true
	}
	return s.ContainerByName(ref)
}

// apply returns the snapshot after b. An error means that this binary can't follow the log any further.
func (s *State) apply(b Batch) (*State, error) {
	if b.Rev < s.rev {
		return nil, fmt.Errorf("store: the log went back from revision %d to %d", s.rev, b.Rev)
	}
	next := *s
	next.rev = b.Rev
	changes := b.byKind()
	if err := next.applyMeta(changes[metaKind], b.Reset); err != nil {
		return nil, err
	}
	next.applyGuards(changes[guardKind], b.Reset)
	var err error
	step := func(kindName string, do func(c *change) error) {
		if err == nil {
			err = do(changes[kindName])
		}
	}
	step(containerKind.name, func(c *change) error { return applyTable(&next.containers, c, b.Reset) })
	step(nodeKind.name, func(c *change) error { return applyTable(&next.nodes, c, b.Reset) })
	step(migrationKind.name, func(c *change) error { return applyTable(&next.migrations, c, b.Reset) })
	step(templateKind.name, func(c *change) error { return applyTable(&next.templates, c, b.Reset) })
	step(operationKind.name, func(c *change) error { return applyTable(&next.operations, c, b.Reset) })
	step(masterKind.name, func(c *change) error { return applyTable(&next.masters, c, b.Reset) })
	step(counterKind.name, func(c *change) error { return applyTable(&next.counters, c, b.Reset) })
	step(goneKind.name, func(c *change) error { return applyTable(&next.gone, c, b.Reset) })
	if err != nil {
		return nil, err
	}
	if b.Reset {
		next.names = indexNames(next.containers)
	} else {
		next.names = s.names.update(changes[containerKind.name], s.containers, next.containers)
	}
	return &next, nil
}

func applyTable[T any](t *Table[T], c *change, reset bool) (err error) {
	if reset {
		*t, err = t.replace(c)
	} else {
		*t, err = t.apply(c)
	}
	return err
}

// applyMeta comes before all other kinds: what a newer binary wrote need not even decode.
func (s *State) applyMeta(c *change, reset bool) error {
	if reset {
		s.meta, s.metaRev = Meta{}, 0
	}
	if c == nil {
		return nil
	}
	_, id := splitKey(metaKey)
	kv, ok := c.put[id]
	if !ok {
		return nil
	}
	var m Meta
	if err := json.Unmarshal(kv.Value, &m); err != nil {
		// Only the number is promised to stay readable.
		var number struct {
			Format int `json:"format"`
		}
		if json.Unmarshal(kv.Value, &number) == nil && number.Format > Format {
			return &FormatError{number.Format, Format}
		}
		return fmt.Errorf("decode %s: %w", metaKey, err)
	}
	if m.Format > Format {
		return &FormatError{m.Format, Format}
	}
	s.meta, s.metaRev = m, kv.Rev
	return nil
}

func (s *State) applyGuards(c *change, reset bool) {
	if !reset && c == nil {
		return
	}
	next := make(map[string]Rev, len(s.guards)+1)
	if !reset {
		for key, rev := range s.guards {
			next[key] = rev
		}
	}
	if c != nil {
		for id, kv := range c.put {
			next[guardKind+"/"+id] = kv.Rev
		}
	}
	s.guards = next
}

// byKind sorts a batch into what concerns each kind.
func (b *Batch) byKind() map[string]*change {
	changes := make(map[string]*change)
	of := func(kind string) *change {
		c := changes[kind]
		if c == nil {
			c = &change{put: make(map[string]KV)}
			changes[kind] = c
		}
		return c
	}
	for key, kv := range b.Put {
		kind, id := splitKey(key)
		of(kind).put[id] = kv
	}
	for _, key := range b.Del {
		kind, id := splitKey(key)
		c := of(kind)
		c.del = append(c.del, id)
	}
	return changes
}
