package sim

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// at calls f, once, when the host's runtime is called for method, and lets the call go on when f returns.
func (w *world) at(hostName, method string, f func() error) {
	var once sync.Once
	w.hosts[hostName].Hook = func(_ context.Context, call, _ string) (err error) {
		if call == method {
			once.Do(func() { err = f() })
		}
		return err
	}
}

func TestMigrateAround(t *testing.T) {
	w := newWorld(t)
	c := w.create("web", "42")
	for _, to := range []string{"n2", "n3", "n1", "n2"} {
		m := w.ended(w.migrate("web", to), cluster.PhaseDone)
		w.one(c, to, "42")
		if m.Stats.Frozen <= 0 || m.Stats.ImageBytes == 0 {
			t.Errorf("figures are missing: %+v", m.Stats)
		}
	}
	// And it is still managed: stop, destroy.
	w.retry("stop", func() error {
		_, err := w.client().StopContainer(w.ctx, &vzpb.ContainerOpRequest{OpKey: "stop", Name: "web"})
		return err
	})
	w.until("it is stopped", func() error {
		got, err := w.container("web")
		if err == nil && got.State != cluster.ContainerStopped {
			err = errors.New(string(got.State))
		}
		return err
	})
	w.retry("destroy", func() error {
		_, err := w.client().DestroyContainer(w.ctx, &vzpb.ContainerOpRequest{OpKey: "destroy", Name: "web"})
		return err
	})
	w.until("it is gone", func() error {
		st, err := w.status()
		if err == nil && len(st.Containers) > 0 {
			err = errors.New("still there")
		}
		if _, ok := w.hosts["n2"].Live(c.CTID); ok {
			err = errors.New("its copy is still there")
		}
		return err
	})
}

// Whatever step of the runtime fails once: before the commit the source runs on, and a second try works.
func TestFailuresAbort(t *testing.T) {
	for _, tc := range []struct{ host, call string }{
		{"n1", "Preflight"}, {"n2", "Reserve"}, {"n1", "Arm"}, {"n2", "Prepare"}, {"n1", "Freeze"}, {"n1", "Dump"}, {"n2", "Restore"},
	} {
		t.Run(tc.call, func(t *testing.T) {
			w := newWorld(t)
			c := w.create("web", "42")
			w.at(tc.host, tc.call, func() error { return errors.New("the disk is on fire") })
			m := w.ended(w.migrate("web", "n2"), cluster.PhaseFailed)
			if !strings.Contains(m.Reason, "the disk is on fire") {
				t.Errorf("the reason is lost: %q", m.Reason)
			}
			w.one(c, "n1", "42")
			w.ended(w.migrate("web", "n2"), cluster.PhaseDone)
			w.one(c, "n2", "42")
		})
	}
}

// The leader changes in the middle of a step: the migration ends, and there is one copy with its memory.
func TestLeaderChanges(t *testing.T) {
	for _, tc := range []struct{ host, call string }{
		{"n1", "Preflight"}, {"n1", "Dump"}, {"n2", "Restore"}, {"n2", "Release"}, {"n1", "Destroy"},
	} {
		t.Run(tc.call, func(t *testing.T) {
			w := newWorld(t)
			c := w.create("web", "42")
			w.at(tc.host, tc.call, func() error { w.log.Elect((w.log.Leader() + 1) % 3); return nil })
			w.ended(w.migrate("web", "n2"), cluster.PhaseDone)
			w.one(c, "n2", "42")
		})
	}
}

// An agent dies in the middle of a step and comes back: one copy, and if it is the one of before, with its memory.
func TestAgentDies(t *testing.T) {
	for _, tc := range []struct{ host, call string }{
		{"n1", "Dump"}, {"n2", "Restore"}, {"n2", "Release"}, {"n1", "Destroy"}, {"n1", "Freeze"}, {"n2", "Prepare"},
	} {
		t.Run(tc.host+" "+tc.call, func(t *testing.T) {
			w := newWorld(t)
			c := w.create("web", "42")
			reached := make(chan struct{})
			h := w.hosts[tc.host]
			var once sync.Once
			h.Hook = func(ctx context.Context, call, _ string) error {
				if call != tc.call {
					return nil
				}
				first := false
				once.Do(func() { first = true })
				if !first {
					return nil
				}
				close(reached)
				<-ctx.Done() // the call dies with the agent
				return ctx.Err()
			}
			id := w.migrate("web", "n2")
			<-reached
			w.kill(tc.host)
			w.boot(tc.host)
			var m cluster.Migration
			w.until("the migration is closed", func() error {
				r, err := w.client().ListMigrations(w.ctx, &vzpb.ListMigrationsRequest{All: true})
				if err != nil {
					return err
				}
				if err := json.Unmarshal(r.Migrations[0].Json, &m); err != nil {
					return err
				}
				if m.ID != id || !m.Closed {
					return errors.New(string(m.Phase) + " " + m.Reason)
				}
				return nil
			})
			on, memory := "n1", "42"
			if m.Phase == cluster.PhaseDone {
				on = "n2"
			}
			if tc.call == "Release" {
				memory = "cold" // the held tasks died with their agent: started anew from the disk (R9, R11)
			}
			w.one(c, on, memory)
		})
	}
}
