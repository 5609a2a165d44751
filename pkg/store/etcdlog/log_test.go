package etcdlog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vzcluster/vzcluster/pkg/store"
	"github.com/vzcluster/vzcluster/pkg/store/etcdlog"
)

// patience bounds every wait; reaching it is a failure.
const patience = 30 * time.Second

// running is one member with its Lead.
type running struct {
	*etcdlog.Log
	led  chan context.Context // one for each leadership
	stop func()
}

func run(t *testing.T, conf etcdlog.Config) *running {
	t.Helper()
	log, err := etcdlog.New(conf)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Log: log, led: make(chan context.Context, 100)}
	done := make(chan error, 2)
	go func() { done <- log.Run(ctx) }()
	go func() {
		done <- log.Lead(ctx, func(ctx context.Context, _ uint64) error {
			r.led <- ctx
			<-ctx.Done()
			return nil
		})
	}()
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("%s: %v", conf.ID, err)
			}
		}
	}
	t.Cleanup(r.stop)
	return r
}

// lead waits for the next leadership.
func (r *running) lead(t *testing.T) context.Context {
	t.Helper()
	select {
	case ctx := <-r.led:
		return ctx
	case <-time.After(patience):
		t.Fatal("does not lead")
		return nil
	}
}

func (r *running) put(t *testing.T, key, value string) store.Rev {
	t.Helper()
	rev, err := r.Commit(t.Context(), store.Txn{Put: map[string][]byte{key: []byte(value)}})
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	return rev
}

// batches follows the log until ctx ends.
func (r *running) batches(ctx context.Context) <-chan store.Batch {
	out := make(chan store.Batch, 1000)
	go func() {
		_ = r.Follow(ctx, func(b store.Batch) { out <- b })
		close(out)
	}()
	return out
}

// wait returns the first batch that is as wanted.
func wait(t *testing.T, batches <-chan store.Batch, wanted func(store.Batch) bool) store.Batch {
	t.Helper()
	for timeout := time.After(patience); ; {
		select {
		case b := <-batches:
			if wanted(b) {
				return b
			}
		case <-timeout:
			t.Fatal("it does not arrive")
		}
	}
}

// lines hands on what is logged.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	select {
	case l <- string(p):
	default: // nobody listens any more
	}
	return len(p), nil
}

// logTo has a member log to the lines that are returned.
func logTo(conf *etcdlog.Config) lines {
	l := make(lines, 1000)
	conf.Logger = slog.New(slog.NewTextHandler(l, nil))
	return l
}

// hear waits for a line with text.
func hear(t *testing.T, l lines, text string) {
	t.Helper()
	for timeout := time.After(patience); ; {
		select {
		case line := <-l:
			if strings.Contains(line, text) {
				return
			}
		case <-timeout:
			t.Fatalf("nothing is logged of %q", text)
		}
	}
}

// Nobody founds a cluster who was not told to: the prefix may be mistyped, or etcd empty after an accident.
func TestNoClusterNoLeader(t *testing.T) {
	b := newBackend()
	conf := b.config(1)
	conf.Bootstrap = false
	says := logTo(&conf)
	waiting := run(t, conf)
	hear(t, says, "there is no cluster")
	first := run(t, b.config(0))
	first.lead(t)
	if len(waiting.led) > 0 {
		t.Error("it leads though there is no cluster and it was not to make one")
	}
	first.put(t, "a", "1")
	first.stop()
	waiting.lead(t) // now there is one
	waiting.put(t, "a", "2")
}

func TestHold(t *testing.T) {
	b := newBackend()
	c := client(b.prefix)
	defer c.Close()
	if _, err := c.Put(t.Context(), b.prefix+"/hold", "not now"); err != nil {
		t.Fatal(err)
	}
	conf := b.config(0)
	says := logTo(&conf)
	held := run(t, conf)
	hear(t, says, "not now")
	if _, err := held.Commit(t.Context(), store.Txn{Del: []string{"x"}}); !errors.Is(err, store.ErrNotLeader) {
		t.Errorf("commit under a hold: %v", err)
	}
	if _, err := c.Delete(t.Context(), b.prefix+"/hold"); err != nil {
		t.Fatal(err)
	}
	held.lead(t)
}

// What was compacted away while a follower was cut off comes as a full image.
func TestCompaction(t *testing.T) {
	b := newBackend()
	lead := run(t, b.config(0))
	lead.lead(t)
	follower := run(t, b.config(1))
	lead.put(t, "old", "1")
	batches := follower.batches(t.Context())
	wait(t, batches, func(b store.Batch) bool { _, ok := b.Put["old"]; return ok })

	b.Cut(1)
	for i := range 20 {
		lead.put(t, "n", fmt.Sprint(i))
	}
	rev, err := lead.Commit(t.Context(), store.Txn{Del: []string{"old"}})
	if err != nil {
		t.Fatal(err)
	}
	c := client(b.prefix)
	defer c.Close()
	if _, err := c.Compact(t.Context(), int64(rev), clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	b.Heal(1)
	got := wait(t, batches, func(b store.Batch) bool { return b.Rev >= rev })
	if !got.Reset || len(got.Put) != 1 || string(got.Put["n"].Value) != "19" {
		t.Errorf("after the compaction: %+v, want an image with n=19", got)
	}
	last := lead.put(t, "n", "end")
	if got := wait(t, batches, func(b store.Batch) bool { return b.Rev >= last }); got.Reset || string(got.Put["n"].Value) != "end" {
		t.Errorf("behind the image: %+v", got)
	}
}

// Somebody deletes the leader key: the leadership is over with the next write or fresh read, and neither gets through.
func TestLeaderKeyDeleted(t *testing.T) {
	b := newBackend()
	only := run(t, b.config(0))
	for name, call := range map[string]func() error{
		"commit": func() error {
			_, err := only.Commit(t.Context(), store.Txn{Put: map[string][]byte{"a": nil}})
			return err
		},
		"read index": func() error { _, err := only.ReadIndex(t.Context()); return err },
	} {
		ctx := only.lead(t)
		c := client(b.prefix)
		if _, err := c.Delete(t.Context(), b.prefix+"/election/", clientv3.WithPrefix()); err != nil {
			t.Fatal(err)
		}
		c.Close()
		if err := call(); !errors.Is(err, store.ErrNotLeader) {
			t.Errorf("%s: got %v, want ErrNotLeader", name, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(patience):
			t.Fatalf("%s: the leadership goes on", name)
		}
	}
	only.lead(t)
}

// What others write into the same etcd is none of our business, and does not hold a fresh read up.
func TestForeignKeys(t *testing.T) {
	b := newBackend()
	lead := run(t, b.config(0))
	lead.lead(t)
	rev := lead.put(t, "a", "1")
	c := client(b.prefix)
	defer c.Close()
	for _, key := range []string{"/other", b.prefix + "/data.backup", b.prefix + "x/data/y", b.prefix + "/zzz"} {
		if _, err := c.Put(t.Context(), key, "not ours"); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := lead.ReadIndex(t.Context()); err != nil || got != rev {
		t.Errorf("read index %d, %v; want %d", got, err, rev)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if image := wait(t, lead.batches(ctx), func(b store.Batch) bool { return b.Reset }); len(image.Put) != 1 || string(image.Put["a"].Value) != "1" {
		t.Errorf("image %+v, want only a=1", image)
	}
}

// A transaction that changes no key is still a revision that followers get to.
func TestEmptyEffect(t *testing.T) {
	b := newBackend()
	lead := run(t, b.config(0))
	lead.lead(t)
	batches := lead.batches(t.Context())
	wait(t, batches, func(b store.Batch) bool { return b.Reset })
	rev, err := lead.Commit(t.Context(), store.Txn{Del: []string{"never was"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := wait(t, batches, func(b store.Batch) bool { return b.Rev >= rev }); got.Rev != rev || len(got.Put)+len(got.Del) != 0 {
		t.Errorf("got %+v, want an empty batch at %d", got, rev)
	}
}

func TestStepDown(t *testing.T) {
	b := newBackend()
	first := run(t, b.config(0))
	ctx := first.lead(t)
	if got := first.Candidates(); len(got) > 1 {
		t.Errorf("candidates %+v", got)
	}
	second := run(t, b.config(1))
	if err := b.standing(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if err := second.StepDown(); !errors.Is(err, store.ErrNotLeader) {
		t.Errorf("a follower steps down: %v", err)
	}
	if err := first.StepDown(); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	second.lead(t)
}

// Contact is honest: it moves while etcd can be asked and what it has was seen, and stands still on a member that is cut off.
func TestContact(t *testing.T) {
	b := newBackend()
	lead := run(t, b.config(0))
	lead.lead(t)
	follower := run(t, b.config(1))
	if !follower.Contact().IsZero() {
		t.Error("contact of a member that follows nothing")
	}
	batches := follower.batches(t.Context())
	rev := lead.put(t, "a", "1")
	wait(t, batches, func(b store.Batch) bool { return b.Rev >= rev })
	moves := func() {
		t.Helper()
		from := time.Now()
		for deadline := time.Now().Add(patience); !follower.Contact().After(from); {
			if time.Now().After(deadline) {
				t.Fatal("no contact")
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	moves()
	b.Cut(1)
	cut := time.Now()
	rev = lead.put(t, "a", "2")
	select {
	case <-follower.batches(t.Context()): // an image, so it can't come
		t.Error("a member that is cut off gets an image")
	case <-time.After(2 * time.Second):
	}
	if at := follower.Contact(); at.After(cut) {
		t.Errorf("contact %v after the cut", at.Sub(cut))
	}
	b.Heal(1)
	wait(t, batches, func(b store.Batch) bool { return b.Rev >= rev })
	moves()
}

func TestBeforeAndAfterRun(t *testing.T) {
	b := newBackend()
	log, err := etcdlog.New(b.config(0))
	if err != nil {
		t.Fatal(err)
	}
	idle := func() {
		t.Helper()
		if _, err := log.Commit(t.Context(), store.Txn{Del: []string{"x"}}); !errors.Is(err, store.ErrNotLeader) {
			t.Errorf("commit: %v", err)
		}
		if _, err := log.ReadIndex(t.Context()); !errors.Is(err, store.ErrNotLeader) {
			t.Errorf("read index: %v", err)
		}
		if addr, ok := log.Leader(); ok || len(log.Candidates()) != 0 {
			t.Errorf("leader %q", addr)
		}
	}
	idle()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := log.Run(ctx); err != nil {
		t.Errorf("run: %v", err)
	}
	idle()
	if err := log.Follow(t.Context(), func(store.Batch) {}); err == nil {
		t.Error("follow a log that has ended")
	}
	if err := log.Lead(t.Context(), func(context.Context, uint64) error { return nil }); err == nil {
		t.Error("lead a log that has ended")
	}
}
