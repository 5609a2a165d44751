package store

import (
	"iter"
	"slices"
	"strings"
)

// chunkRows is the most rows of one chunk: about the square root of a large cluster's number of records.
const chunkRows = 512

// rows are ordered by id, in chunks that snapshots share. They are never changed: what is called a change returns another one, which
// has a copy of the chunk in question and of the list of chunks. With a hundred thousand rows that is some KiB instead of a MiB.
type rows[T any] struct {
	chunks [][]*row[T] // none is empty
	n      int
}

// newRows takes sorted rows over.
func newRows[T any](sorted []*row[T]) rows[T] {
	r := rows[T]{n: len(sorted)}
	// Half full: there is room before a chunk must be split.
	for chunk := range slices.Chunk(sorted, chunkRows/2) {
		r.chunks = append(r.chunks, chunk)
	}
	return r
}

func (r rows[T]) all() iter.Seq[*row[T]] {
	return func(yield func(*row[T]) bool) {
		for _, chunk := range r.chunks {
			for _, x := range chunk {
				if !yield(x) {
					return
				}
			}
		}
	}
}

// search returns where id is or belongs: the chunk and the place in it. With no chunks the first one is returned, which is not there.
func (r rows[T]) search(id string) (chunk, place int, found bool) {
	// The last chunk whose first row is not behind id.
	chunk, found = slices.BinarySearchFunc(r.chunks, id, func(c []*row[T], id string) int { return strings.Compare(c[0].id, id) })
	if found {
		return chunk, 0, true
	}
	chunk = max(chunk-1, 0)
	if len(r.chunks) == 0 {
		return 0, 0, false
	}
	place, found = slices.BinarySearchFunc(r.chunks[chunk], id, func(x *row[T], id string) int { return strings.Compare(x.id, id) })
	return chunk, place, found
}

// find returns the row with id; nil: there is none.
func (r rows[T]) find(id string) *row[T] {
	if c, p, ok := r.search(id); ok {
		return r.chunks[c][p]
	}
	return nil
}

// put returns the rows with x in them, in the place of the one with its id if there is one.
func (r rows[T]) put(x *row[T]) rows[T] {
	c, p, found := r.search(x.id)
	if len(r.chunks) == 0 {
		return rows[T]{[][]*row[T]{{x}}, 1}
	}
	chunks := slices.Clone(r.chunks)
	if found {
		chunks[c] = slices.Clone(chunks[c])
		chunks[c][p] = x
		return rows[T]{chunks, r.n}
	}
	chunk := make([]*row[T], 0, len(chunks[c])+1)
	chunk = append(append(append(chunk, chunks[c][:p]...), x), chunks[c][p:]...)
	chunks[c] = chunk
	if len(chunk) > chunkRows {
		half := len(chunk) / 2
		chunks = slices.Replace(chunks, c, c+1, chunk[:half:half], chunk[half:])
	}
	return rows[T]{chunks, r.n + 1}
}

// del returns the rows without the one with id.
func (r rows[T]) del(id string) rows[T] {
	c, p, found := r.search(id)
	if !found {
		return r
	}
	chunks := slices.Clone(r.chunks)
	if len(chunks[c]) == 1 {
		return rows[T]{slices.Delete(chunks, c, c+1), r.n - 1}
	}
	chunks[c] = slices.Delete(slices.Clone(chunks[c]), p, p+1)
	return rows[T]{chunks, r.n - 1}
}
