package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
)

// Report is everything that a run has measured.
type Report struct {
	Started  time.Time           `json:"started"`
	Machine  string              `json:"machine"`
	Size     int                 `json:"value_bytes"`
	Log      []Step              `json:"log,omitempty"`
	Masters  []Step              `json:"masters,omitempty"`
	Failover map[string]Failover `json:"failover,omitempty"`
	Full     *Full               `json:"full,omitempty"`
}

// Step is one number of clients on both back ends: of each the round with the median rate, and all rounds.
type Step struct {
	Clients int                  `json:"clients"`
	Raft    Figures              `json:"raft"`
	Etcd    Figures              `json:"etcd"`
	Runs    map[string][]Figures `json:"runs"`
}

// Failover is how long nothing could be written after a kill -9 of the leader.
type Failover struct {
	Times  []time.Duration `json:"times_ns"`
	Median time.Duration   `json:"median_ns"`
	Worst  time.Duration   `json:"worst_ns"`
}

func header(w io.Writer) {
	fmt.Fprintf(w, "%8s | %28s | %28s | %s\n", "", "raft", "etcd", "raft/etcd")
	fmt.Fprintf(w, "%8s | %10s %8s %8s | %10s %8s %8s |\n", "clients", "writes/s", "p50 ms", "p99 ms", "writes/s", "p50 ms", "p99 ms")
}

func (s Step) print(w io.Writer) {
	ratio := 0.0
	if s.Etcd.PerSecond > 0 {
		ratio = s.Raft.PerSecond / s.Etcd.PerSecond
	}
	fmt.Fprintf(w, "%8d | %10.0f %8s %8s | %10.0f %8s %8s | %9.2f\n", s.Clients, s.Raft.PerSecond, ms(s.Raft.P50), ms(s.Raft.P99),
		s.Etcd.PerSecond, ms(s.Etcd.P50), ms(s.Etcd.P99), ratio)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond)) }

// save writes the report as JSON; with no file named it does nothing.
func (r Report) save(file string) error {
	if file == "" {
		return nil
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}

// machine says what the figures were made on.
func machine() string {
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		kernel = []byte("?")
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		load = []byte("?")
	}
	return fmt.Sprintf("%d CPUs, Linux %s, load %s, %s", runtime.NumCPU(), strings.TrimSpace(string(kernel)), strings.TrimSpace(string(load)), runtime.Version())
}
