package master

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// copyReport is one copy as an agent reports it.
type copyReport struct {
	cluster.CopyInfo
	RunGen   uint64
	SpecGen  uint64
	ErrorGen uint64
	Usage    cluster.Usage
}

// sideReport is one side of a migration as an agent reports it.
type sideReport struct {
	Role     string
	Step     string
	CTID     string
	Epoch    cluster.Epoch
	Digest   string
	Error    string
	Stages   []cluster.StageTime
	Stats    cluster.MigrationStats
	Progress *vzpb.Progress
}

// The roles in a migration, on the wire.
const (
	roleSource = "source"
	roleTarget = "target"
)

// report is a decoded Report. It is never changed after decode, so snapshots share it.
type report struct {
	At         time.Time // when it was handled here
	Seq        uint64
	BootID     string
	Starts     uint64
	Info       cluster.NodeInfo
	Copies     []copyReport
	Migrations map[string]sideReport // by migration id
	Templates  map[string]bool       // digests
	MaxTerm    uint64

	byCTID  map[string][]int // indexes into Copies
	essence string           // equal for two reports that differ only in usage and progress
}

// Bounds of a report: an agent may not fill the leader's memory.
const (
	maxCopies     = 20000
	maxReported   = 2000
	maxReportText = 4096
)

// decode checks and decodes what an agent sent.
func decode(r *vzpb.Report, now time.Time) (*report, error) {
	out := &report{At: now, Seq: r.Seq, BootID: r.BootId, Starts: r.AgentStarts, MaxTerm: r.MaxTerm,
		Migrations: map[string]sideReport{}, Templates: map[string]bool{}}
	if r.BootId == "" || len(r.BootId) > 128 {
		return nil, fmt.Errorf("boot_id: 1 to 128 bytes, not %d", len(r.BootId))
	}
	if len(r.Copies) > maxCopies || len(r.Migrations) > maxReported || len(r.Templates) > maxReported {
		return nil, fmt.Errorf("more than %d copies, %d migrations or %d templates", maxCopies, maxReported, maxReported)
	}
	if err := json.Unmarshal(r.InfoJson, &out.Info); err != nil {
		return nil, fmt.Errorf("info_json: %w", err)
	}
	for _, c := range r.Copies {
		if cluster.ValidateCTID(c.Ctid) != nil {
			return nil, fmt.Errorf("copy of %.20q: not a CTID", c.Ctid)
		}
		out.Copies = append(out.Copies, copyReport{
			CopyInfo: cluster.CopyInfo{CTID: c.Ctid, Epoch: cluster.Epoch(c.Epoch), State: cluster.CopyState(c.State), Pid: int(c.Pid), Error: clipText(c.Error)},
			RunGen:   c.RunGen, SpecGen: c.SpecGen, ErrorGen: c.ErrorGen, Usage: usage(c.Usage),
		})
	}
	out.index()
	for _, m := range r.Migrations {
		s, err := decodeSide(m)
		if err != nil {
			return nil, fmt.Errorf("migration %.20q: %w", m.Id, err)
		}
		out.Migrations[m.Id] = s
	}
	for _, d := range r.Templates {
		out.Templates[d] = true
	}
	out.essence = essence(r)
	return out, nil
}

func decodeSide(m *vzpb.MigrationReport) (sideReport, error) {
	if m.Role != roleSource && m.Role != roleTarget {
		return sideReport{}, fmt.Errorf("role %.20q", m.Role)
	}
	s := sideReport{Role: m.Role, Step: m.Step, CTID: clipText(m.Ctid), Epoch: cluster.Epoch(m.Epoch), Digest: clipText(m.Digest), Error: clipText(m.Error), Progress: m.Progress}
	if len(m.StatsJson) > 0 {
		if err := json.Unmarshal(m.StatsJson, &s.Stats); err != nil {
			return sideReport{}, fmt.Errorf("stats_json: %w", err)
		}
	}
	if len(m.Stages) > 200 {
		return sideReport{}, fmt.Errorf("%d stages", len(m.Stages))
	}
	for _, st := range m.Stages {
		s.Stages = append(s.Stages, cluster.StageTime{Stage: clipText(st.Stage), Start: time.Unix(0, st.StartUnixNs).UTC(), Duration: time.Duration(st.DurationNs)})
	}
	return s, nil
}

// essence is what must differ for a report to be news. The order of the lists means nothing.
func essence(r *vzpb.Report) string {
	r = proto.CloneOf(r)
	r.Seq, r.MaxTerm = 0, 0
	for _, c := range r.Copies {
		c.Usage, c.ExecSessions = nil, 0
	}
	for _, m := range r.Migrations {
		m.Progress, m.StatsJson = nil, nil
	}
	slices.SortFunc(r.Copies, func(a, b *vzpb.CopyReport) int {
		return cmp.Or(strings.Compare(a.Ctid, b.Ctid), cmp.Compare(a.Epoch, b.Epoch), strings.Compare(a.State, b.State))
	})
	slices.SortFunc(r.Migrations, func(a, b *vzpb.MigrationReport) int { return strings.Compare(a.Id, b.Id) })
	slices.Sort(r.Templates)
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err != nil {
		return fmt.Sprintf("%p", r) // never equal: always news
	}
	return string(b)
}

// index makes looking for a container's copies cheap: each loop does it for every container.
func (r *report) index() *report {
	r.byCTID = make(map[string][]int, len(r.Copies))
	for i, c := range r.Copies {
		r.byCTID[c.CTID] = append(r.byCTID[c.CTID], i)
	}
	return r
}

// find returns the copy that counts as the container itself: the newest that is neither frozen, staged nor retired.
func (r *report) find(ctid string) (copyReport, bool) {
	var best copyReport
	found := false
	if r == nil {
		return best, false
	}
	for _, i := range r.byCTID[ctid] {
		c := r.Copies[i]
		switch c.State {
		case cluster.CopyFrozen, cluster.CopyStaged, cluster.CopyRetired:
			continue
		}
		if !found || c.Epoch > best.Epoch {
			best, found = c, true
		}
	}
	return best, found
}

// copiesOf lists every copy of one container.
func (r *report) copiesOf(ctid string) []cluster.CopyInfo {
	var out []cluster.CopyInfo
	if r == nil {
		return nil
	}
	for _, i := range r.byCTID[ctid] {
		out = append(out, r.Copies[i].CopyInfo)
	}
	return out
}

// seen is what the coordinator's plan needs to know of one side of m.
func (r *report) seen(n cluster.Node, m cluster.Migration, role string) migrate.Seen {
	s := migrate.Seen{State: n.State, BootID: n.BootID}
	if r == nil {
		return s
	}
	// The report is newer than the record if the host has just booted.
	s.Report, s.BootID, s.Copies = r.At, r.BootID, r.copiesOf(m.CTID)
	if side, ok := r.Migrations[m.ID]; ok && side.Role == role {
		s.Attempt, s.Step, s.Digest, s.Error = true, side.Step, side.Digest, side.Error
	}
	return s
}

func usage(u *vzpb.Usage) cluster.Usage {
	return cluster.Usage{CPUNanos: u.GetCpuNs(), MemoryBytes: u.GetMemoryBytes(), DiskBytes: u.GetDiskBytes(), Pids: u.GetPids(),
		NetRxBytes: u.GetNetRxBytes(), NetTxBytes: u.GetNetTxBytes()}
}

// clipText bounds and cleans text from an agent that goes into records and logs.
func clipText(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > maxReportText {
		s = strings.ToValidUTF8(s[:maxReportText], "") + "..."
	}
	return strings.TrimSpace(s)
}

// nodeUsage sums up what the containers of a node use.
func (r *report) nodeUsage() (u cluster.Usage, running int) {
	for _, c := range r.Copies {
		u.CPUNanos += c.Usage.CPUNanos
		u.MemoryBytes += c.Usage.MemoryBytes
		u.DiskBytes += c.Usage.DiskBytes
		u.Pids += c.Usage.Pids
		u.NetRxBytes += c.Usage.NetRxBytes
		u.NetTxBytes += c.Usage.NetTxBytes
		if c.State == cluster.CopyRunning {
			running++
		}
	}
	return u, running
}

// infoEqual compares what agents say about their hosts.
func infoEqual(a, b cluster.NodeInfo) bool {
	return a.Address == b.Address && a.Capacity == b.Capacity && a.Version == b.Version &&
		a.Features.Kernel == b.Features.Kernel && a.Features.CRIU == b.Features.CRIU && a.Features.CRIUVersion == b.Features.CRIUVersion &&
		a.Features.Cgroup == b.Features.Cgroup && a.Features.Arch == b.Features.Arch &&
		slices.Equal(a.Features.CPUFlags, b.Features.CPUFlags) && slices.Equal(a.Features.Transfer, b.Features.Transfer)
}
