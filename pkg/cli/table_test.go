package cli

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

type row struct {
	id   uint64
	name string
	on   bool
	load float64
	diff int64
}

func rowColumns() []Column[row] {
	return []Column[row]{
		{Name: "id", Title: "ID", Right: true, Value: func(r row) any { return r.id }},
		{Name: "name", Title: "NAME", Value: func(r row) any { return r.name }},
		{Name: "on", Title: "ON", Value: func(r row) any { return r.on }},
		{Name: "load", Title: "LOAD", Value: func(r row) any { return r.load }},
		{Name: "diff", Title: "DIFF", Value: func(r row) any { return r.diff }},
	}
}

func rows() []row {
	return []row{{9, "b", true, 2.5, -1}, {101, "a", false, 10, 5}, {10, "c", true, 0.5, -20}}
}

func TestSort(t *testing.T) {
	for by, want := range map[string][]uint64{
		"id": {9, 10, 101}, "-id": {101, 10, 9}, "name": {101, 9, 10}, "-name": {10, 9, 101}, "on": {101, 9, 10}, "load": {10, 9, 101}, "diff": {10, 9, 101},
	} {
		r := rows()
		if err := Sort(r, rowColumns(), by); err != nil {
			t.Fatal(err)
		}
		var got []uint64
		for _, x := range r {
			got = append(got, x.id)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("sort by %s: %v, want %v", by, got, want)
		}
	}
	var e *Error
	if err := Sort(rows(), rowColumns(), "-nope"); !errors.As(err, &e) || e.Code != Usage {
		t.Errorf("unknown column: %v", err)
	}
}

func TestRender(t *testing.T) {
	cols, err := Select(rowColumns(), "id, name")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	r := []row{{id: 9, name: "x"}, {id: 101, name: "escape\x1b[31m\nline"}, {id: 7}}
	if err := Render(&b, cols, r, true); err != nil {
		t.Fatal(err)
	}
	want := " ID  NAME\n  9  x\n101  escape?[31m; line\n  7  -\n"
	if b.String() != want {
		t.Errorf("got\n%q, want\n%q", b.String(), want)
	}
	if _, err := Select(rowColumns(), "id,,name"); err == nil {
		t.Error("an empty column name was accepted")
	}
}

func TestObjects(t *testing.T) {
	cols, _ := Select(rowColumns(), "name,id")
	got := Objects(cols, rows()[:1])
	if want := []map[string]any{{"name": "b", "id": uint64(9)}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestLine(t *testing.T) {
	for in, want := range map[string]string{"a\nb": "a; b", "a\r\nb\n": "a; b", "\x1b]0;x\a": "?]0;x?", "\ta\tb": "a b", "Grüße": "Grüße", "\xff": "?", "\u202e": "?"} {
		if got := Line(in); got != want {
			t.Errorf("Line(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestExitCodes(t *testing.T) {
	seen := map[int]bool{}
	for _, e := range ExitCodes() {
		if seen[e.Exit] {
			t.Errorf("exit code %d twice", e.Exit)
		}
		seen[e.Exit] = true
		if e.Code != "" && e.Code.Exit() != e.Exit {
			t.Errorf("%s.Exit() = %d, want %d", e.Code, e.Code.Exit(), e.Exit)
		}
	}
	for code, want := range map[Code]int{Internal: 1, Usage: 2, NotFound: 3, Conflict: 4, Unreachable: 5, Denied: 6, UnknownOutcome: 7, Partial: 8, "nonsense": 1} {
		if code.Exit() != want {
			t.Errorf("%s.Exit() = %d, want %d", code, code.Exit(), want)
		}
	}
}
