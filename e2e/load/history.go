package load

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// input is what a client asked for.
type input struct {
	register string
	write    bool
	value    string
}

func (i input) String() string {
	if i.write {
		return fmt.Sprintf("write %s = %s", i.register, i.value)
	}
	return "read " + i.register
}

// Write is a write that a master acknowledged.
type Write struct {
	Key, Register, Value string
	At                   time.Time // of the acknowledgement
}

// History is a record of calls. Its methods may be called at the same time.
type History struct {
	begin time.Time

	mu     sync.Mutex
	ops    []porcupine.Operation
	acked  []Write
	failed int // calls that ended with an error; of writes, tries
}

// NewHistory returns an empty record.
func NewHistory() *History { return &History{begin: time.Now()} }

// now is a monotonic time in nanoseconds: what orders the calls of one process.
func (h *History) now() int64 { return int64(time.Since(h.begin)) }

func (h *History) read(client int, register, value string, call, end int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: input{register: register}, Call: call, Output: value, Return: end})
}

func (h *History) wrote(client int, w Write, call, end int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.acked = append(h.acked, w)
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: input{w.Register, true, w.Value}, Call: call, Output: "", Return: end})
}

// pending is a write whose outcome nobody knows: it may take effect at any time after its call, or never.
func (h *History) pending(client int, register, value string, call int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: input{register, true, value}, Call: call, Output: "", Return: math.MaxInt64})
}

func (h *History) fail() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed++
}

// Acknowledged returns all writes that a master has acknowledged, in that order.
func (h *History) Acknowledged() []Write {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := slices.Clone(h.acked)
	slices.SortFunc(out, func(a, b Write) int { return a.At.Compare(b.At) })
	return out
}

// FirstAfter returns when the first write was acknowledged that was acknowledged after t.
func (h *History) FirstAfter(t time.Time) (time.Time, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var first time.Time
	for _, w := range h.acked {
		if w.At.After(t) && (first.IsZero() || w.At.Before(first)) {
			first = w.At
		}
	}
	return first, !first.IsZero()
}

// Counts says how large the record is.
func (h *History) Counts() (reads, writes, failed int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ops) - len(h.acked), len(h.acked), h.failed
}

// Check tells whether the history is that of registers which each change at one instant between the call and the answer of a write:
// linearizable. limit bounds the search. An error names the first register whose history is not.
func (h *History) Check(limit time.Duration) error {
	h.mu.Lock()
	ops := slices.Clone(h.ops)
	h.mu.Unlock()
	if len(ops) == 0 {
		return fmt.Errorf("the history is empty: nothing was checked")
	}
	deadline := time.Now().Add(limit)
	for register, part := range byRegister(ops) {
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("the history of %d calls could not be judged within %v", len(ops), limit)
		}
		switch r := porcupine.CheckOperationsTimeout(model, part, left); r {
		case porcupine.Ok:
		case porcupine.Unknown:
			return fmt.Errorf("register %s: %d calls could not be judged within %v", register, len(part), limit)
		default:
			return fmt.Errorf("register %s: its history of %d calls is not linearizable; %s", register, len(part), suspect(part))
		}
	}
	return nil
}

func byRegister(ops []porcupine.Operation) map[string][]porcupine.Operation {
	out := make(map[string][]porcupine.Operation)
	for _, o := range ops {
		r := o.Input.(input).register
		out[r] = append(out[r], o)
	}
	return out
}

// suspect finds the plainest reason: a read of what was overwritten before the read began, or of what nobody wrote.
func suspect(part []porcupine.Operation) string {
	writes := make(map[string]porcupine.Operation)
	for _, o := range part {
		if o.Input.(input).write {
			writes[o.Input.(input).value] = o
		}
	}
	for _, o := range part {
		if o.Input.(input).write || o.Output == "" {
			continue
		}
		w, ok := writes[o.Output.(string)]
		if !ok {
			return fmt.Sprintf("%q was read and never written", o.Output)
		}
		for _, later := range writes {
			if later.Call > w.Return && later.Return < o.Call {
				return fmt.Sprintf("%q was read at %v by client %d after %q, which is newer, had been acknowledged at %v",
					o.Output, time.Duration(o.Call), o.ClientId, later.Input.(input).value, time.Duration(later.Return))
			}
		}
	}
	return "no single read shows why"
}

// model is one register of text.
var model = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, in, out any) (bool, any) {
		if i := in.(input); i.write {
			return true, i.value
		}
		return out == state, state
	},
}
