package container

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestConsole(t *testing.T) {
	h := newHost(t)
	stop := h.run()
	c := h.container("101")
	h.started(c)
	has := func(want string) func() bool {
		return func() bool {
			b, err := h.r.ConsoleTail("101", 1<<20)
			h.must(err)
			return strings.Contains(string(b), want)
		}
	}
	eventually(t, "what init said", has("hello from init"))
	if b, err := h.r.ConsoleTail("101", 5); err != nil || string(b) != "init\n" {
		t.Errorf("tail: %q %v", b, err)
	}
	// The keeper outlives the agent; and when it is killed itself, the agent brings another one, and nothing is lost.
	stop()
	h.sh("101", "echo while no agent runs > /dev/console")
	eventually(t, "the keeper without an agent", has("while no agent runs"))
	h.restart()
	h.run()
	keeper := h.keeperPid()
	h.must(unix.Kill(keeper, unix.SIGKILL))
	h.sh("101", "exec 3<>/dev/console; echo while no keeper runs >&3; sleep 1000 >/dev/null 2>&1 & ")
	eventually(t, "the next keeper", has("while no keeper runs"))

	h.sh("101", "for i in $(seq 1 40000); do echo 0123456789012345678901234567890123456789012345678901234567890; done > /dev/console; echo last > /dev/console")
	eventually(t, "the last word", has("last"))
	var sum int64
	for _, p := range []string{h.r.consoleLog("101"), h.r.consoleLog("101") + rotated} {
		fi, err := os.Stat(p)
		h.must(err)
		if fi.Size() > logLimit {
			t.Errorf("%s has %d bytes", p, fi.Size())
		}
		sum += fi.Size()
	}
	b, err := h.r.ConsoleTail("101", 1<<30)
	if err != nil || int64(len(b)) != sum {
		t.Errorf("tail of everything: %d of %d bytes, %v", len(b), sum, err)
	}
	// A keeper with nothing to keep goes away, with what was said last written down.
	h.sh("101", "echo good bye > /dev/console")
	c.RunGen = 2
	h.must(h.r.Stop(t.Context(), c))
	if !has("good bye")() {
		t.Error("the last words are lost")
	}
	eventually(t, "the keeper leaves", func() bool {
		f, err := os.Open(h.cfg.ConsoleSocket() + ".lock")
		h.must(err)
		defer f.Close()
		return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
	})
}

// keeperPid finds the keeper as the holder of its lock.
func (h *host) keeperPid() int {
	h.t.Helper()
	ps, err := filepath.Glob("/proc/[0-9]*/cmdline")
	h.must(err)
	for _, p := range ps {
		b, _ := os.ReadFile(p)
		if strings.Contains(string(b), "console-keeper\x00--socket\x00"+h.cfg.ConsoleSocket()) {
			return atoi(strings.Split(p, "/")[2])
		}
	}
	h.t.Fatal("no keeper")
	return 0
}

func atoi(s string) int {
	n := 0
	for _, c := range s {
		n = n*10 + int(c-'0')
	}
	return n
}

func TestOneKeeper(t *testing.T) {
	dir := t.TempDir()
	sock := filepath.Join(dir, "s")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- RunConsoleKeeper(ctx, sock, dir) }()
	eventually(t, "the first one", func() bool { _, err := os.Stat(sock); return err == nil })
	if err := RunConsoleKeeper(t.Context(), sock, dir); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("a second keeper: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("the first one: %v", err)
	}
}
