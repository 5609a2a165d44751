package store

import (
	"errors"
	"testing"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

// While a master of the release before takes part, nothing that it does not know is written.
func TestNewKindsWaitForTheFormat(t *testing.T) {
	kindSince[templateKind.name] = 2
	defer delete(kindSince, templateKind.name)
	for _, test := range []struct {
		name    string
		meta    Meta
		metaRev Rev
		ok      bool
	}{
		{"format before", Meta{Format: 1}, 5, false},
		{"format of the kind", Meta{Format: 2}, 5, true},
		{"a later format", Meta{Format: 3}, 5, true},
		{"a cluster that is being founded", Meta{}, 0, Format >= 2},
	} {
		st := newState()
		st.meta, st.metaRev = test.meta, test.metaRev
		tx := newTx(st)
		tx.Templates().Put(cluster.Template{Name: "debian"})
		_, _, err := tx.txn()
		var tooNew *TooNewError
		if (err == nil) != test.ok || err != nil && !errors.As(err, &tooNew) {
			t.Errorf("%s: %v, want ok: %v", test.name, err, test.ok)
		}
		// What was read or left as it is needs nothing.
		tx = newTx(st)
		tx.Templates().Get("debian")
		tx.Nodes().Put(cluster.Node{Name: "n1"})
		if _, _, err := tx.txn(); err != nil {
			t.Errorf("%s: another kind: %v", test.name, err)
		}
	}
}
