package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Column is one column of a table of T.
type Column[T any] struct {
	Name  string // as given to -o and -s, and the key in JSON
	Title string // in the header
	Help  string
	Right bool // aligned to the right
	// Value is what is sorted by and what JSON shows: a string, bool, int64, uint64 or float64.
	Value func(T) any
	// Text is what the table shows; nil: the value.
	Text func(T) string
}

// Cell returns the text of the column for one row, "-" if there is none.
func (c Column[T]) Cell(row T) string {
	var s string
	if c.Text != nil {
		s = c.Text(row)
	} else {
		s = fmt.Sprint(c.Value(row))
	}
	if s = Line(s); s == "" {
		return "-"
	}
	return s
}

// Find returns the column with a name.
func Find[T any](cols []Column[T], name string) (Column[T], error) {
	for _, c := range cols {
		if c.Name == name {
			return c, nil
		}
	}
	names := make([]string, len(cols))
	for i, c := range cols {
		names[i] = c.Name
	}
	return Column[T]{}, Errorf(Usage, "no column %q; there are %s", name, strings.Join(names, ","))
}

// Select returns the columns of a comma-separated list of names, in its order.
func Select[T any](cols []Column[T], list string) ([]Column[T], error) {
	var out []Column[T]
	for name := range strings.SplitSeq(list, ",") {
		c, err := Find(cols, strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// Sort sorts rows by a column's name, downwards with '-' before it. Rows that are equal keep their order.
func Sort[T any](rows []T, cols []Column[T], by string) error {
	name, down := strings.CutPrefix(by, "-")
	c, err := Find(cols, name)
	if err != nil {
		return err
	}
	slices.SortStableFunc(rows, func(a, b T) int {
		n := compare(c.Value(a), c.Value(b))
		if down {
			return -n
		}
		return n
	})
	return nil
}

// compare orders two values of one column.
func compare(a, b any) int {
	switch a := a.(type) {
	case uint64:
		if b, ok := b.(uint64); ok {
			return cmp.Compare(a, b)
		}
	case int64:
		if b, ok := b.(int64); ok {
			return cmp.Compare(a, b)
		}
	case float64:
		if b, ok := b.(float64); ok {
			return cmp.Compare(a, b)
		}
	case bool:
		if b, ok := b.(bool); ok && a != b {
			if a {
				return 1
			}
			return -1
		}
		return 0
	}
	return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b))
}

// Render writes rows as an aligned table. Cells of the last column are not padded.
func Render[T any](w io.Writer, cols []Column[T], rows []T, header bool) error {
	var lines [][]string
	if header {
		h := make([]string, len(cols))
		for i, c := range cols {
			h[i] = c.Title
		}
		lines = append(lines, h)
	}
	for _, r := range rows {
		l := make([]string, len(cols))
		for i, c := range cols {
			l[i] = c.Cell(r)
		}
		lines = append(lines, l)
	}
	width := make([]int, len(cols))
	for _, l := range lines {
		for i, s := range l {
			width[i] = max(width[i], utf8.RuneCountInString(s))
		}
	}
	var b strings.Builder
	for _, l := range lines {
		for i, s := range l {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(s))
			switch {
			case cols[i].Right:
				s = pad + s
			case i < len(l)-1:
				s += pad
			}
			if i > 0 {
				b.WriteString("  ")
			}
			b.WriteString(s)
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Objects returns the rows as JSON objects with just these columns.
func Objects[T any](cols []Column[T], rows []T) []map[string]any {
	out := make([]map[string]any, 0, len(rows))
	for _, r := range rows {
		o := make(map[string]any, len(cols))
		for _, c := range cols {
			o[c.Name] = c.Value(r)
		}
		out = append(out, o)
	}
	return out
}
