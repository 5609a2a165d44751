package store

import (
	"cmp"
	"slices"
	"strings"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// nameIndex finds containers by name. Like a Table it is a sorted slice that is copied when it changes, which is only when a
// container is made, renamed, or destroyed.
type nameIndex []nameRef

type nameRef struct{ name, ctid string }

func (a nameRef) compare(b nameRef) int {
	return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.ctid, b.ctid))
}

func (x nameIndex) find(name string) (ctid string, ok bool) {
	i, _ := slices.BinarySearchFunc(x, nameRef{name: name}, nameRef.compare)
	if name == "" || i == len(x) || x[i].name != name {
		return "", false
	}
	return x[i].ctid, true
}

func indexNames(t Table[cluster.Container]) nameIndex {
	var x nameIndex
	for r := range t.rows.all() {
		if r.value.Name != "" {
			x = append(x, nameRef{r.value.Name, r.id})
		}
	}
	slices.SortFunc(x, nameRef.compare)
	return x
}

// update returns the index after c, which led from the table old to next.
func (x nameIndex) update(c *change, old, next Table[cluster.Container]) nameIndex {
	if c == nil {
		return x
	}
	nameOf := func(t Table[cluster.Container], id string) string {
		if r := t.find(id); r != nil {
			return r.value.Name
		}
		return ""
	}
	cloned := false
	visit := func(id string) {
		was, is := nameOf(old, id), nameOf(next, id)
		if was == is {
			return
		}
		if !cloned {
			x, cloned = slices.Clone(x), true
		}
		if i, ok := slices.BinarySearchFunc(x, nameRef{was, id}, nameRef.compare); ok {
			x = slices.Delete(x, i, i+1)
		}
		if is != "" {
			i, _ := slices.BinarySearchFunc(x, nameRef{is, id}, nameRef.compare)
			x = slices.Insert(x, i, nameRef{is, id})
		}
	}
	for id := range c.put {
		visit(id)
	}
	for _, id := range c.del {
		visit(id)
	}
	return x
}
