package main

import (
	"strings"

	"github.com/spf13/pflag"

	"github.com/vzcluster/vzcluster/pkg/cli"
)

// pairs prints "name  value" lines; those without a value are left out.
func (a *app) pairs(rows [][2]string) error {
	var shown [][2]string
	for _, r := range rows {
		if r[1] != "" {
			shown = append(shown, r)
		}
	}
	return cli.Render(a.out, []cli.Column[[2]string]{
		{Name: "name", Value: func(r [2]string) any { return r[0] }},
		{Name: "value", Value: func(r [2]string) any { return r[1] }},
	}, shown, false)
}

// listFlags are vzlist's flags, which every list has.
type listFlags struct {
	fields   string
	sort     string
	noHeader bool
	only     bool // just the first column of all, the id
	help     bool // list the columns
}

func (l *listFlags) register(f *pflag.FlagSet) {
	f.StringVarP(&l.fields, "output", "o", "", "show these columns, `FIELD,...`")
	f.StringVarP(&l.sort, "sort", "s", "", "sort by a column, downwards with - before it, `[-]FIELD`")
	f.BoolVarP(&l.noHeader, "no-header", "H", false, "no header")
	f.BoolVarP(&l.only, "ids", "1", false, "only the ids, one a line, no header")
	f.BoolVarP(&l.help, "list-fields", "L", false, "list the columns that there are")
}

// table prints rows as the flags say. cols are all columns, the first of which is the id; standard are those shown by default.
func table[T any](a *app, l *listFlags, cols []cli.Column[T], standard string, rows []T) error {
	chosen, err := choose(l, cols, standard)
	if err != nil {
		return err
	}
	by := l.sort
	if by == "" {
		by = cols[0].Name
	}
	if err := cli.Sort(rows, cols, by); err != nil {
		return err
	}
	switch {
	case a.json && (l.fields != "" || l.only):
		return a.document(cli.Objects(chosen, rows))
	case a.json && rows == nil:
		return a.document([]T{})
	case a.json:
		return a.document(rows)
	}
	return cli.Render(a.out, chosen, rows, !l.noHeader && !l.only)
}

// choose returns the columns to show.
func choose[T any](l *listFlags, cols []cli.Column[T], standard string) ([]cli.Column[T], error) {
	switch {
	case l.only:
		id := cols[0]
		id.Right = false // for scripts: no blanks
		return []cli.Column[T]{id}, nil
	case l.fields != "":
		return cli.Select(cols, l.fields)
	}
	return cli.Select(cols, standard)
}

// checkList finds wrong columns before the cluster is asked, and answers -L. done: there is nothing more to do.
func checkList[T any](a *app, l *listFlags, cols []cli.Column[T], standard string) (done bool, err error) {
	if l.help {
		help := []cli.Column[cli.Column[T]]{
			{Name: "field", Title: "FIELD", Value: func(c cli.Column[T]) any { return c.Name }},
			{Name: "header", Title: "HEADER", Value: func(c cli.Column[T]) any { return c.Title }},
			{Name: "meaning", Title: "MEANING", Value: func(c cli.Column[T]) any { return c.Help }},
		}
		if a.json {
			return true, a.document(cli.Objects(help, cols))
		}
		return true, cli.Render(a.out, help, cols, !l.noHeader)
	}
	if _, err := choose(l, cols, standard); err != nil {
		return false, err
	}
	if l.sort != "" {
		_, err = cli.Find(cols, strings.TrimPrefix(l.sort, "-"))
	}
	return false, err
}

// yesNo writes a bool as vzctl does.
func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
