package move

import (
	"errors"
	"testing"

	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/pkg/store/raftlog"
)

func TestNewest(t *testing.T) {
	member := func(id string, term, index uint64) *raftlog.Offline {
		return &raftlog.Offline{Dir: "/" + id, ID: id, LastTerm: term, LastIndex: index, Voters: []string{"m1", "m2", "m3"}}
	}
	for name, c := range map[string]struct {
		all   []*raftlog.Offline
		force bool
		want  string // empty: refused
	}{
		"one of three":         {[]*raftlog.Offline{member("m1", 1, 1)}, false, ""},
		"one of three, forced": {[]*raftlog.Offline{member("m1", 1, 1)}, true, "m1"},
		"the longer log":       {[]*raftlog.Offline{member("m1", 2, 7), member("m2", 2, 9)}, false, "m2"},
		"the later term":       {[]*raftlog.Offline{member("m1", 3, 7), member("m2", 2, 9)}, false, "m1"},
		"one twice":            {[]*raftlog.Offline{member("m1", 3, 7), member("m1", 3, 7)}, true, ""},
		"not a voter":          {[]*raftlog.Offline{member("m1", 3, 7), member("m9", 3, 6)}, false, ""},
		"all":                  {[]*raftlog.Offline{member("m1", 1, 1), member("m2", 1, 1), member("m3", 1, 2)}, false, "m3"},
		"none":                 {nil, true, ""},
	} {
		got, err := newest(c.all, c.force)
		var refused *RefusedError
		switch {
		case c.want == "":
			if !errors.As(err, &refused) {
				t.Errorf("%s: got %v, %v; want a refusal", name, got, err)
			}
		case err != nil || got.ID != c.want:
			t.Errorf("%s: got %+v, %v; want %s", name, got, err, c.want)
		}
	}
}

func TestMovedRefuses(t *testing.T) {
	for name, data := range map[string]map[string]store.KV{
		"no cluster":   {"counter/x": {Value: []byte("{}")}},
		"newer format": {store.MetaKey: {Value: []byte(`{"format":99}`)}},
		"broken":       {store.MetaKey: {Value: []byte(`{`)}},
	} {
		var refused *RefusedError
		if _, _, err := Moved(data, 1); !errors.As(err, &refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
