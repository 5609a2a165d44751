package store

import (
	"iter"
	"slices"
	"strings"
)

// row is one decoded record. Rows are never changed, so snapshots share them: a record is decoded once per revision.
type row[T any] struct {
	id    string
	rev   Rev
	value T
}

// Table is the records of one kind in a snapshot, ordered by id. The records that it hands out are copies.
type Table[T any] struct {
	kind *kind[T]
	rows rows[T]
}

// Get returns the record with id, and whether there is one.
func (t Table[T]) Get(id string) (T, bool) {
	if r := t.find(id); r != nil {
		return t.kind.clone(r.value), true
	}
	var none T
	return none, false
}

// Rev returns the revision at which the record was last written, 0 if there is none.
func (t Table[T]) Rev(id string) Rev {
	if r := t.find(id); r != nil {
		return r.rev
	}
	return 0
}

// Len returns how many records there are.
func (t Table[T]) Len() int { return t.rows.n }

// All iterates over the records and their revisions in the order of their ids (as strings: "100" before "99").
func (t Table[T]) All() iter.Seq2[T, Rev] {
	return func(yield func(T, Rev) bool) {
		for r := range t.rows.all() {
			if !yield(t.kind.clone(r.value), r.rev) {
				return
			}
		}
	}
}

func (t Table[T]) find(id string) *row[T] { return t.rows.find(id) }

// change is what a batch does to one kind, by id.
type change struct {
	put map[string]KV
	del []string
}

// apply returns the table after c.
func (t Table[T]) apply(c *change) (Table[T], error) {
	if c == nil {
		return t, nil
	}
	next := t
	for _, id := range c.del {
		next.rows = next.rows.del(id)
	}
	for id, kv := range c.put {
		value, err := t.kind.decode(id, kv.Value)
		if err != nil {
			return t, err
		}
		next.rows = next.rows.put(&row[T]{id, kv.Rev, value})
	}
	return next, nil
}

// replace returns the table that holds exactly c.put; rows that t has at the same revision are kept.
func (t Table[T]) replace(c *change) (Table[T], error) {
	next := Table[T]{kind: t.kind}
	if c == nil {
		return next, nil
	}
	all := make([]*row[T], 0, len(c.put))
	for id, kv := range c.put {
		r := t.find(id)
		if r == nil || r.rev != kv.Rev {
			value, err := t.kind.decode(id, kv.Value)
			if err != nil {
				return t, err
			}
			r = &row[T]{id, kv.Rev, value}
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *row[T]) int { return strings.Compare(a.id, b.id) })
	next.rows = newRows(all)
	return next, nil
}
