package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// Tx is what the closure of [Store.Update] works on: a snapshot, and on top of it what the closure has written so far. Everything
// read or written through it becomes a precondition of the transaction, so a closure that returned nil saw a state that is still
// true at the commit, or it is run again:
//
//   - Get, Put and Delete compare the revision of that one record (0 when there was none);
//   - All, and a lookup by name that found nothing, compare the revision of the kind's guard key, which every transaction that
//     writes any record of the kind puts. So nothing can slip into a range that was read (no phantoms), and nothing in it can
//     change, at the price of one operation per written kind; it also stands for all single records of that kind.
//
// What is read through [Tx.State] is not compared: it is for hints only. A Tx is used by one goroutine, and not after the closure.
type Tx struct {
	base       *State
	reads      map[string]Rev
	err        error // the first that a Put met
	meta       *Meta
	containers TxTable[cluster.Container]
	nodes      TxTable[cluster.Node]
	migrations TxTable[cluster.Migration]
	templates  TxTable[cluster.Template]
	operations TxTable[cluster.Operation]
	masters    TxTable[cluster.Master]
	counters   TxTable[Counter]
	gone       TxTable[cluster.Gone]
}

func newTx(s *State) *Tx {
	tx := &Tx{base: s, reads: make(map[string]Rev)}
	tx.containers = TxTable[cluster.Container]{tx: tx, base: s.containers}
	tx.nodes = TxTable[cluster.Node]{tx: tx, base: s.nodes}
	tx.migrations = TxTable[cluster.Migration]{tx: tx, base: s.migrations}
	tx.templates = TxTable[cluster.Template]{tx: tx, base: s.templates}
	tx.operations = TxTable[cluster.Operation]{tx: tx, base: s.operations}
	tx.masters = TxTable[cluster.Master]{tx: tx, base: s.masters}
	tx.counters = TxTable[Counter]{tx: tx, base: s.counters}
	tx.gone = TxTable[cluster.Gone]{tx: tx, base: s.gone}
	return tx
}

// State is the snapshot that the closure works on, without its own writes. Reads from it are not part of the preconditions.
func (tx *Tx) State() *State { return tx.base }

// Containers are keyed by CTID.
func (tx *Tx) Containers() *TxTable[cluster.Container] { return &tx.containers }

// Nodes are keyed by name.
func (tx *Tx) Nodes() *TxTable[cluster.Node] { return &tx.nodes }

// Migrations are keyed by id.
func (tx *Tx) Migrations() *TxTable[cluster.Migration] { return &tx.migrations }

// Templates are keyed by name.
func (tx *Tx) Templates() *TxTable[cluster.Template] { return &tx.templates }

// Operations are keyed by the key that the client chose.
func (tx *Tx) Operations() *TxTable[cluster.Operation] { return &tx.operations }

// Masters are keyed by raft server id.
func (tx *Tx) Masters() *TxTable[cluster.Master] { return &tx.masters }

// Gone are the destroyed containers that are still remembered, keyed by CTID.
func (tx *Tx) Gone() *TxTable[cluster.Gone] { return &tx.gone }

// Meta returns the record of the cluster; the zero value if it was never written.
func (tx *Tx) Meta() Meta {
	tx.reads[metaKey] = tx.base.metaRev
	if tx.meta != nil {
		return *tx.meta
	}
	return tx.base.meta
}

// SetMeta writes the record of the cluster.
func (tx *Tx) SetMeta(m Meta) {
	tx.reads[metaKey] = tx.base.metaRev
	tx.meta = &m
}

// Next adds one to the counter name and returns its new value: the first is 1.
func (tx *Tx) Next(name string) uint64 {
	c, _ := tx.counters.Get(name)
	c.Name = name
	c.Value++
	tx.counters.Put(c)
	return c.Value
}

// ContainerByName returns the container with a name, and whether there is one.
func (tx *Tx) ContainerByName(name string) (cluster.Container, bool) {
	for ctid, c := range tx.containers.pending {
		if c != nil && c.Name == name && name != "" {
			return tx.containers.Get(ctid)
		}
	}
	if ctid, ok := tx.base.names.find(name); ok {
		if _, written := tx.containers.pending[ctid]; !written {
			return tx.containers.Get(ctid)
		}
	}
	tx.containers.readAll()
	return cluster.Container{}, false
}

// FindContainer looks ref up as a CTID and then as a name.
func (tx *Tx) FindContainer(ref string) (cluster.Container, bool) {
	if c, ok := tx.containers.Get(ref); ok {
		return c, true
	}
	return tx.ContainerByName(ref)
}

// txn makes the transaction, and tells whether it changes anything. A record put back as it was is no change.
func (tx *Tx) txn() (t Txn, changed bool, err error) {
	t = Txn{If: maps.Clone(tx.reads), Put: make(map[string][]byte)}
	tables := []interface{ collect(t *Txn) error }{&tx.containers, &tx.nodes, &tx.migrations, &tx.templates, &tx.operations, &tx.masters, &tx.counters, &tx.gone}
	for _, table := range tables {
		tx.err = errors.Join(tx.err, table.collect(&t))
	}
	if tx.meta != nil && *tx.meta != tx.base.meta {
		value, err := json.Marshal(tx.meta)
		tx.err = errors.Join(tx.err, err)
		t.Put[metaKey] = value
	}
	if tx.err != nil {
		return Txn{}, false, tx.err
	}
	if len(t.Put)+len(t.Del) == 0 {
		return t, false, nil
	}
	return t, true, t.Check()
}

// TxTable is the records of one kind as a transaction sees them.
type TxTable[T any] struct {
	tx      *Tx
	base    Table[T]
	pending map[string]*T // nil: deleted
}

// Get returns the record with id, and whether there is one.
func (t *TxTable[T]) Get(id string) (T, bool) {
	t.read(id)
	if v, ok := t.pending[id]; ok {
		if v == nil {
			var none T
			return none, false
		}
		return t.base.kind.clone(*v), true
	}
	return t.base.Get(id)
}

// All iterates over the records in the order of their ids. The closure may write while it iterates; it goes on over what was there
// when the loop began.
func (t *TxTable[T]) All() iter.Seq[T] {
	return func(yield func(T) bool) {
		t.readAll()
		var now []T
		var ids []string
		for r := range t.base.rows.all() {
			if _, ok := t.pending[r.id]; !ok {
				ids = append(ids, r.id)
			}
		}
		for id, v := range t.pending {
			if v != nil {
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
		for _, id := range ids {
			if v, ok := t.pending[id]; ok {
				now = append(now, t.base.kind.clone(*v))
			} else {
				v, _ := t.base.Get(id)
				now = append(now, v)
			}
		}
		for _, v := range now {
			if !yield(v) {
				return
			}
		}
	}
}

// Put writes v under its id, over what was there. A bad id makes the transaction fail with ErrInvalid.
func (t *TxTable[T]) Put(v T) {
	id := t.base.kind.id(&v)
	if err := checkKey(t.base.kind.key(id)); err != nil || id == "" {
		t.tx.err = errors.Join(t.tx.err, fmt.Errorf("%w: %s with the id %.40q", ErrInvalid, t.base.kind.name, id))
		return
	}
	t.read(id)
	v = t.base.kind.clone(v)
	t.set(id, &v)
}

// Delete removes the record with id, if there is one.
func (t *TxTable[T]) Delete(id string) {
	t.read(id)
	t.set(id, nil)
}

func (t *TxTable[T]) set(id string, v *T) {
	if t.pending == nil {
		t.pending = make(map[string]*T)
	}
	t.pending[id] = v
}

func (t *TxTable[T]) read(id string) { t.tx.reads[t.base.kind.key(id)] = t.base.Rev(id) }

func (t *TxTable[T]) readAll() {
	guard := t.base.kind.guard()
	t.tx.reads[guard] = t.tx.base.guards[guard]
}

// collect adds to txn what was written here.
func (t *TxTable[T]) collect(txn *Txn) error {
	k, wrote := t.base.kind, false
	for id, v := range t.pending {
		was := t.base.find(id)
		switch {
		case v == nil && was == nil:
		case v == nil:
			txn.Del = append(txn.Del, k.key(id))
			wrote = true
		default:
			value, err := json.Marshal(v)
			if err != nil {
				return fmt.Errorf("encode %s: %w", k.key(id), err)
			}
			if was != nil {
				if old, err := json.Marshal(was.value); err == nil && bytes.Equal(old, value) {
					continue
				}
			}
			txn.Put[k.key(id)] = value
			wrote = true
		}
	}
	slices.Sort(txn.Del)
	if wrote {
		if err := t.tx.base.writable(k.name); err != nil {
			return err
		}
		txn.Put[k.guard()] = []byte(guardValue)
	}
	if _, all := txn.If[k.guard()]; all {
		// The guard moves with every record of the kind, so it stands for each of them.
		prefix := k.name + "/"
		maps.DeleteFunc(txn.If, func(key string, _ Rev) bool { return strings.HasPrefix(key, prefix) })
	}
	return nil
}
