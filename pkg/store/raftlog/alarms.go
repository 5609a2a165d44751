package raftlog

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
)

// alarms are what an operator should look at, by what they are about.
type alarms struct {
	mu  sync.Mutex
	now map[string]string
}

// set replaces the alarms and logs what is new and what is over.
func (a *alarms) set(now map[string]string, log *slog.Logger) {
	a.mu.Lock()
	before := a.now
	a.now = now
	a.mu.Unlock()
	for about, what := range now {
		if before[about] != what {
			log.Warn("alarm", "about", about, "what", what)
		}
	}
	for about, what := range before {
		if _, still := now[about]; !still {
			log.Info("alarm is over", "about", about, "what", what)
		}
	}
}

func (a *alarms) list() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Values(a.now))
}

// Alarms says in words what is wrong with the other members, as their leader sees it; none on a follower.
func (l *Log) Alarms() []string { return l.alarms.list() }
