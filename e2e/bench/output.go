package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate"
)

// frozenStage is the name under which classic.sh reports the whole time from before the checkpoint to after the restore.
const frozenStage = "frozen"

// parseClassic reads what `classic.sh migrate` prints: see there.
func parseClassic(out string) (Move, error) {
	m := Move{Bytes: map[string]uint64{}}
	type span struct {
		name       string
		start, end float64
	}
	var spans []span
	criu := map[string]time.Duration{}
	var stopped float64
	moved := false
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		var err error
		switch {
		case len(f) == 4 && f[0] == "stage":
			s := span{name: f[1]}
			if s.start, err = strconv.ParseFloat(f[2], 64); err == nil {
				s.end, err = strconv.ParseFloat(f[3], 64)
			}
			if s.name == frozenStage {
				stopped, m.Frozen = s.start, seconds(s.end-s.start)
			} else {
				spans = append(spans, s)
			}
		case len(f) == 3 && f[0] == "bytes":
			m.Bytes[f[1]], err = strconv.ParseUint(f[2], 10, 64)
		case len(f) == 3 && f[0] == "criu":
			var s float64
			s, err = strconv.ParseFloat(f[2], 64)
			criu[f[1]] = seconds(s)
		case len(f) == 2 && f[0] == "moved":
			moved = true
		}
		if err != nil {
			return m, fmt.Errorf("classic.sh said %q: %w", strings.TrimSpace(line), err)
		}
	}
	if !moved || m.Frozen <= 0 {
		return m, fmt.Errorf("classic.sh did not say that it moved anything")
	}
	for _, s := range spans {
		m.Stages = append(m.Stages, Stage{s.name, seconds(s.start - stopped), seconds(s.end - s.start)})
		// CRIU's own time, of which the stage's rest is runc's.
		if d, ok := criu[criuPart[s.name]]; ok {
			m.Stages = append(m.Stages, Stage{s.name + ": criu's own", seconds(s.start - stopped), d})
		}
	}
	return m, nil
}

// criuPart names what CRIU does in a stage of classic.sh.
var criuPart = map[string]string{"checkpoint": "dump", "restore": "restore"}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// moveOf takes the figures of the product's own record. Stages are counted from the one that froze the container.
func moveOf(r cluster.Migration) Move {
	m := Move{
		Frozen: r.Stats.Frozen,
		Bytes:  map[string]uint64{"rootfs": r.Stats.RootfsBytes, "rootfs-again": r.Stats.FinalBytes, "images": r.Stats.ImageBytes},
	}
	sides := []struct {
		name   string
		stages []cluster.StageTime
	}{{"source", r.From.Stages}, {"target", r.To.Stages}}
	var zero time.Time
	for _, side := range sides {
		for _, s := range side.stages {
			if s.Stage == migrate.StageFreeze && (zero.IsZero() || s.Start.Before(zero)) {
				zero = s.Start
			}
		}
	}
	for _, side := range sides {
		for _, s := range side.stages {
			if zero.IsZero() {
				zero = s.Start
			}
			m.Stages = append(m.Stages, Stage{side.name + ": " + s.Stage, s.Start.Sub(zero), s.Duration})
		}
	}
	return m
}
