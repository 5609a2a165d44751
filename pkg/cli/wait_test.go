package cli

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/vzcluster/vzcluster/pkg/cluster"
)

func TestRunGoal(t *testing.T) {
	start, stop := RunGoal{cluster.WantRunning, 5}, RunGoal{cluster.WantStopped, 5}
	type c = cluster.Container
	const run, halt = cluster.WantRunning, cluster.WantStopped
	const running, stopped = cluster.ContainerRunning, cluster.ContainerStopped
	for name, x := range map[string]struct {
		goal RunGoal
		c    c
		done bool
		err  string // part of it
	}{
		"older record that runs":      {start, c{RunGen: 4, Want: run, State: running}, false, ""},
		"older record that failed":    {start, c{RunGen: 4, Want: run, State: stopped, Failed: 4}, false, ""},
		"older record, other want":    {start, c{RunGen: 4, Want: halt, State: stopped}, false, ""},
		"not yet":                     {start, c{RunGen: 5, Want: run, State: stopped}, false, ""},
		"runs":                        {start, c{RunGen: 5, Want: run, State: running}, true, ""},
		"failed":                      {start, c{RunGen: 5, Want: run, State: stopped, Failed: 5, Reason: "no /sbin/init"}, false, "no /sbin/init"},
		"failed without reason":       {start, c{RunGen: 5, Want: run, State: stopped, Failed: 5}, false, "console"},
		"an older order failed":       {start, c{RunGen: 5, Want: run, State: stopped, Failed: 3}, false, ""},
		"ended by itself":             {start, c{RunGen: 5, Want: halt, State: stopped, Reason: "init exited"}, false, "init exited"},
		"somebody stopped it":         {start, c{RunGen: 6, Want: halt, State: running}, false, "another order"},
		"node booted, started again":  {start, c{RunGen: 6, Want: run, State: running}, true, ""},
		"second start on its way":     {start, c{RunGen: 6, Want: run, State: stopped}, false, ""},
		"being destroyed":             {start, c{RunGen: 5, Want: run, State: cluster.ContainerDestroying}, false, "destroyed"},
		"stop: not yet":               {stop, c{RunGen: 5, Want: halt, State: running}, false, ""},
		"stop: done":                  {stop, c{RunGen: 5, Want: halt, State: stopped}, true, ""},
		"stop: failed":                {stop, c{RunGen: 5, Want: halt, State: running, Failed: 5, Reason: "stuck"}, false, "stuck"},
		"stop: somebody started it":   {stop, c{RunGen: 7, Want: run, State: running}, false, "another order"},
		"stop: older record, stopped": {stop, c{RunGen: 3, Want: halt, State: stopped}, false, ""},
	} {
		x.c.CTID = "101"
		done, err := x.goal.Reached(&x.c)
		if done != x.done || (err == nil) != (x.err == "") || (err != nil && !strings.Contains(err.Error(), x.err)) {
			t.Errorf("%s: %v, %v", name, done, err)
		}
		if err != nil && AsError(err).Code != Conflict {
			t.Errorf("%s: code %s", name, AsError(err).Code)
		}
	}
}

// TestRunGoalPromise: "done" is only said of a record that shows the wanted state under an order at least as new as ours, and never
// together with an error.
func TestRunGoalPromise(t *testing.T) {
	wants := rapid.SampledFrom([]cluster.RunState{cluster.WantRunning, cluster.WantStopped})
	states := rapid.SampledFrom([]cluster.ContainerState{cluster.ContainerCreating, cluster.ContainerStopped, cluster.ContainerRunning, cluster.ContainerDestroying, cluster.ContainerFailed})
	rapid.Check(t, func(t *rapid.T) {
		gen := rapid.Uint64Range(0, 4)
		g := RunGoal{wants.Draw(t, "goal"), gen.Draw(t, "gen")}
		c := cluster.Container{Want: wants.Draw(t, "want"), RunGen: gen.Draw(t, "run_gen"), Failed: gen.Draw(t, "failed"), State: states.Draw(t, "state")}
		done, err := g.Reached(&c)
		if done && (err != nil || c.RunGen < g.Gen || string(c.State) != string(g.Want) || c.Want != g.Want) {
			t.Fatalf("%+v is done for %+v (%v)", c, g, err)
		}
	})
}

func TestCreated(t *testing.T) {
	for state, want := range map[cluster.ContainerState]string{
		cluster.ContainerCreating: "", cluster.ContainerStopped: "done", cluster.ContainerRunning: "done", cluster.ContainerFailed: string(Internal), cluster.ContainerDestroying: string(Conflict),
	} {
		done, err := Created(&cluster.Container{CTID: "101", State: state, Reason: "disk full"})
		got := ""
		if done {
			got = "done"
		} else if err != nil {
			got = string(AsError(err).Code)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", state, got, want)
		}
	}
}
