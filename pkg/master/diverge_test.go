package master

import (
	"slices"
	"strings"
	"testing"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

func TestCompare(t *testing.T) {
	// The state after entry i is i for those that compute rightly.
	right := func(from, to uint64) (out []cluster.Sum) {
		for i := to; i >= from; i-- {
			out = append(out, cluster.Sum{Index: i, Sum: i})
		}
		return out
	}
	wrong := func(from, to, by uint64) []cluster.Sum {
		out := right(from, to)
		for i := range out {
			out[i].Sum += by
		}
		return out
	}
	for _, test := range []struct {
		name      string
		mine      []cluster.Sum
		others    [][]cluster.Sum // nil: it does not answer
		differ    string
		condemned bool
	}{
		{"alone", right(1, 10), nil, "", false},
		{"all the same", right(1, 10), [][]cluster.Sum{right(1, 10), right(1, 10)}, "", false},
		{"one ahead, one behind", right(5, 10), [][]cluster.Sum{right(8, 20), right(1, 5)}, "", false},
		{"no common entry", right(5, 10), [][]cluster.Sum{wrong(11, 20, 1), wrong(1, 4, 1)}, "", false},
		{"another one is wrong", right(1, 10), [][]cluster.Sum{right(1, 10), wrong(1, 10, 1)}, "c", false},
		{"this one is wrong", wrong(1, 10, 1), [][]cluster.Sum{right(1, 10), right(1, 10)}, "b c", true},
		{"this one is wrong since a while", slices.Concat(wrong(7, 10, 1), right(1, 6)), [][]cluster.Sum{right(1, 8), right(1, 10)}, "b c", true},
		{"this one is wrong, one is silent", wrong(1, 10, 1), [][]cluster.Sum{right(1, 10), nil}, "b", false},
		{"three states", right(1, 10), [][]cluster.Sum{wrong(1, 10, 1), wrong(1, 10, 2)}, "b c", false},
		{"the others are wrong, each in its way, and so is this one", wrong(1, 10, 3), [][]cluster.Sum{wrong(1, 10, 1), wrong(1, 10, 2)}, "b c", false},
		{"one of two", right(1, 10), [][]cluster.Sum{wrong(1, 10, 1)}, "b", false},
		{"two of five are wrong, this one too", wrong(1, 10, 1), [][]cluster.Sum{wrong(1, 10, 1), right(1, 10), right(1, 10), right(1, 10)}, "c d e", true},
		{"two of five are wrong", right(1, 10), [][]cluster.Sum{wrong(1, 10, 1), wrong(1, 10, 1), right(1, 10), right(1, 10)}, "b c", false},
		{"three of five differ, only two answer", wrong(1, 10, 1), [][]cluster.Sum{right(1, 10), right(1, 10), nil, nil}, "b c", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			infos := []cluster.MasterInfo{{Master: cluster.Master{ID: "a"}, State: &cluster.MasterState{Sums: wrong(1, 10, 9)}}} // its own line counts for nothing
			for i, sums := range test.others {
				info := cluster.MasterInfo{Master: cluster.Master{ID: string(rune('b' + i))}}
				if sums != nil {
					info.State = &cluster.MasterState{Sums: sums}
				}
				infos = append(infos, info)
			}
			at := func(index uint64) (uint64, bool) {
				for _, s := range test.mine {
					if s.Index == index {
						return s.Sum, true
					}
				}
				return 0, false
			}
			v := compare("a", at, infos, len(infos))
			if got := strings.Join(v.differ, " "); got != test.differ || v.condemned != test.condemned {
				t.Errorf("differs from %q, condemned %v; want %q, %v: %+v", got, v.condemned, test.differ, test.condemned, v)
			}
		})
	}
}

func TestDivergenceAlarm(t *testing.T) {
	m := &Master{}
	m.diverged.set(verdict{index: 7, differ: []string{"b"}, with: 2})
	if got := m.alarms(); len(got) != 1 || !strings.Contains(got[0], "b differs from this master's after entry 7") {
		t.Errorf("alarms %q", got)
	}
	m.diverged.set(verdict{with: 3})
	if got := m.alarms(); len(got) != 0 {
		t.Errorf("alarms %q after it is over", got)
	}
}
