package master

import (
	"testing"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/store"
)

func TestNextFormat(t *testing.T) {
	const silent = -1
	for _, test := range []struct {
		name  string
		have  int
		knows []int
		want  int
	}{
		{"nobody", 0, nil, 0},
		{"all know this one", store.Format - 1, []int{store.Format, store.Format, store.Format}, store.Format},
		{"one is older", store.Format - 1, []int{store.Format, store.Format - 1, store.Format}, store.Format - 1},
		{"one is much older", store.Format - 1, []int{store.Format, store.Format - 2}, store.Format - 1},
		{"one is silent", store.Format - 1, []int{store.Format, silent}, store.Format - 1},
		{"others are newer than this one", store.Format, []int{store.Format, store.Format + 1, store.Format + 1}, store.Format},
	} {
		var infos []cluster.MasterInfo
		for _, f := range test.knows {
			info := cluster.MasterInfo{}
			if f != silent {
				info.State = &cluster.MasterState{Format: f}
			}
			infos = append(infos, info)
		}
		if got := nextFormat(test.have, infos); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}
