package raftlog

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/vzcluster/vzcluster/pkg/store"
)

func TestConfigIsChecked(t *testing.T) {
	good := Config{ID: "a", DataDir: "/x", RaftAddr: "m1:7701"}
	tests := []struct {
		name   string
		change func(c *Config)
		want   string
	}{
		{"good", func(*Config) {}, ""},
		{"a number", func(c *Config) { c.RaftAddr = "[fd00::1]:7701" }, ""},
		{"no id", func(c *Config) { c.ID = "" }, "id"},
		{"no directory", func(c *Config) { c.DataDir = "" }, "data directory"},
		{"no address", func(c *Config) { c.RaftAddr = "" }, "raft address"},
		{"no port", func(c *Config) { c.RaftAddr = "m1" }, "raft address"},
		{"any host", func(c *Config) { c.RaftAddr = ":7701" }, "can't dial"},
		{"any IPv4", func(c *Config) { c.RaftAddr = "0.0.0.0:7701" }, "can't dial"},
	}
	for _, test := range tests {
		c := good
		test.change(&c)
		_, err := New(c)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
}

// What may have been proposed must never be called refused.
func TestFate(t *testing.T) {
	for err, want := range map[error]error{
		raft.ErrNotLeader:                    store.ErrNotLeader,
		raft.ErrLeadershipTransferInProgress: store.ErrNotLeader,
		raft.ErrEnqueueTimeout:               store.ErrNotLeader,
		errStopped:                           store.ErrNotLeader,
		raft.ErrLeadershipLost:               store.ErrUnknown,
		raft.ErrRaftShutdown:                 store.ErrUnknown,
		raft.ErrAbortedByRestore:             store.ErrUnknown,
		errHung:                              store.ErrUnknown,
		context.Canceled:                     store.ErrUnknown,
		errors.New("disk on fire"):           store.ErrUnknown,
	} {
		if got := fate(err); !errors.Is(got, want) || !errors.Is(got, err) {
			t.Errorf("%v: got %v, want %v", err, got, want)
		}
	}
}

func TestCallsNeverWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c calls
		release := make(chan struct{})
		hang := func() error { <-release; return nil }
		if err := c.await(t.Context(), time.Minute, hang); !errors.Is(err, errHung) {
			t.Errorf("got %v, want errHung", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.await(ctx, time.Minute, hang); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the context's error", err)
		}
		start := time.Now()
		c.drain(time.Second)
		if d := time.Since(start); d != time.Second {
			t.Errorf("drain gave up on what hangs after %v, want 1s", d)
		}
		if err := c.await(t.Context(), time.Minute, hang); !errors.Is(err, errStopped) {
			t.Errorf("after drain: got %v, want errStopped", err)
		}
		close(release)
		var quick calls
		go quick.await(t.Context(), time.Hour, func() error { time.Sleep(time.Minute); return nil })
		synctest.Wait()
		start = time.Now()
		quick.drain(time.Hour)
		if d := time.Since(start); d != time.Minute {
			t.Errorf("drain took %v, want until the last call ended", d)
		}
	})
}

func TestPulse(t *testing.T) {
	var p pulse
	now := time.Unix(1000, 0)
	if p.suspect(now) {
		t.Error("suspects before the first beat")
	}
	for range 20 {
		p.beat(now)
		now = now.Add(pulseEvery)
	}
	if p.suspect(now) {
		t.Error("suspects though it beats")
	}
	now = now.Add(time.Second)
	if !p.suspect(now) {
		t.Error("no suspicion when the last beat is long ago")
	}
	p.beat(now)
	if !p.suspect(now) {
		t.Error("no suspicion right after a pause")
	}
	for range int(pauseMemory / pulseEvery) {
		now = now.Add(pulseEvery)
		p.beat(now)
	}
	if p.suspect(now) {
		t.Error("suspects for ever after a pause")
	}
}

func TestLibraryLogsThroughSlog(t *testing.T) {
	var out bytes.Buffer
	log := newHclog(slog.New(slog.NewTextHandler(&out, nil)).With("master", "a"))
	log.Named("raft").With("x", 1).Warn("slow", "took", time.Second, "what", hclog.Fmt("%d of %d", 1, 2), "err", errors.New("e"))
	log.Debug("not this")
	if got, want := out.String(), `level=WARN msg=slow master=a x=1 took=1s what="1 of 2" err=e`; !strings.Contains(got, want) || strings.Contains(got, "not this") {
		t.Errorf("got %q, want one line with %q", got, want)
	}
	if log.GetLevel() != hclog.Info || log.IsDebug() || !log.IsInfo() {
		t.Errorf("level %v, want that of the handler", log.GetLevel())
	}
}
