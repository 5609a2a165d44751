package main

import (
	"slices"
	"time"
)

// Figures are what one run of writes gave.
type Figures struct {
	Clients   int           `json:"clients"`
	PerSecond float64       `json:"writes_per_second"`
	P50       time.Duration `json:"p50_ns"`
	P99       time.Duration `json:"p99_ns"`
	Max       time.Duration `json:"max_ns"`
}

// figures makes them of the latencies of all writes that ended within took.
func figures(clients int, took time.Duration, latencies []time.Duration) Figures {
	if len(latencies) == 0 || took <= 0 {
		return Figures{Clients: clients}
	}
	slices.Sort(latencies)
	return Figures{clients, float64(len(latencies)) / took.Seconds(), quantile(latencies, 0.5), quantile(latencies, 0.99), latencies[len(latencies)-1]}
}

// quantile returns the smallest value that at least the part q of sorted does not exceed; 0 of nothing.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	n := int(q*float64(len(sorted)) + 0.999999)
	return sorted[min(max(n, 1), len(sorted))-1]
}

// middle returns the run with the median rate.
func middle(runs []Figures) Figures {
	if len(runs) == 0 {
		return Figures{}
	}
	s := slices.Clone(runs)
	slices.SortFunc(s, func(a, b Figures) int {
		switch {
		case a.PerSecond < b.PerSecond:
			return -1
		case a.PerSecond > b.PerSecond:
			return 1
		}
		return 0
	})
	return s[len(s)/2]
}

// sorted returns a sorted copy.
func sorted(ds []time.Duration) []time.Duration { return slices.Sorted(slices.Values(ds)) }
