package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runc/libcontainer"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/node"
)

// Copies implements [node.Runtime]: live copies, then staged ones (those of Create are "creating"), then retired ones.
func (r *Runtime) Copies(ctx context.Context) ([]node.Copy, error) {
	var all []node.Copy
	for _, list := range []func() ([]node.Copy, error){r.liveCopies, r.stagedCopies, r.retiredCopies} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		cs, err := list()
		if err != nil {
			return nil, fmt.Errorf("list copies: %w", err)
		}
		all = append(all, cs...)
	}
	return all, nil
}

func (r *Runtime) liveCopies() ([]node.Copy, error) {
	es, err := os.ReadDir(r.privateDir())
	if err != nil {
		return nil, err
	}
	var cs []node.Copy
	for _, e := range es {
		ctid := e.Name()
		if !e.IsDir() || strings.HasPrefix(ctid, ".") {
			continue
		}
		c, ok := r.liveCopy(ctid)
		if !ok {
			continue // removed meanwhile
		}
		cs = append(cs, c)
	}
	return cs, nil
}

// liveCopy looks at one copy. While a start is under way it tells the generation from before: the new one together with "stopped" would
// mean that the container had run and ended.
func (r *Runtime) liveCopy(ctid string) (c node.Copy, ok bool) {
	for {
		before := r.startMark(ctid)
		rec, ok, err := r.held(ctid)
		if err != nil {
			r.log.Warn("a copy cannot be read", "ctid", ctid, "err", err)
			return node.Copy{CTID: ctid, State: cluster.CopyFailed}, true
		}
		if !ok {
			return c, false
		}
		_, st, pid, err := r.running(ctid)
		if err != nil {
			r.log.Warn("a copy's state cannot be read", "ctid", ctid, "err", err)
		}
		if r.startMark(ctid) != before {
			continue // a start began or ended in between: the parts need not fit together
		}
		c = node.Copy{CTID: ctid, Epoch: rec.Epoch, RunGen: rec.RunGen, SpecGen: rec.SpecGen, State: cluster.CopyStopped}
		switch st {
		case libcontainer.Running:
			c.State, c.Pid = cluster.CopyRunning, pid
		case libcontainer.Paused:
			c.State, c.Pid = cluster.CopyFrozen, pid
		default:
			if before.underWay {
				c.RunGen = before.oldGen
			}
		}
		return c, true
	}
}

func (r *Runtime) stagedCopies() ([]node.Copy, error) {
	es, err := os.ReadDir(r.stagingBase())
	if err != nil {
		return nil, err
	}
	var cs []node.Copy
	for _, e := range es {
		ctid, attempt, ok := strings.Cut(e.Name(), ".")
		if !ok {
			continue
		}
		rec, err := readRecord(stageRecord(r.stageDir(ctid, attempt)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.log.Warn("a staged copy cannot be read", "ctid", ctid, "attempt", attempt, "err", err)
		}
		c := node.Copy{CTID: ctid, Epoch: rec.Epoch, State: cluster.CopyStaged}
		if attempt == createAttempt {
			c.State = cluster.CopyCreating
		}
		cs = append(cs, c)
	}
	return cs, nil
}

func (r *Runtime) retiredCopies() ([]node.Copy, error) {
	es, err := os.ReadDir(r.retiredBase())
	if err != nil {
		return nil, err
	}
	var cs []node.Copy
	for _, e := range es {
		ctid, epoch, ok := strings.Cut(e.Name(), ".")
		n, err := strconv.ParseUint(epoch, 10, 64)
		if !ok || err != nil {
			continue
		}
		cs = append(cs, node.Copy{CTID: ctid, Epoch: cluster.Epoch(n), State: cluster.CopyRetired})
	}
	return cs, nil
}
