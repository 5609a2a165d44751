package movetest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vzcluster/vzcluster/pkg/migrate"
)

func TestPreflightSaysWhatCannotBeMoved(t *testing.T) {
	l := newLAN(t, "debian-redis")
	dial(t, redis).alive()
	a := l.attempt()
	for _, tc := range []struct{ name, do, undo, want string }{
		{"own uts namespace", "setsid unshare -u sleep 1000 </dev/null >/dev/null 2>&1 &", "pkill sleep", "uts namespace of its own"},
		{"own network device", "ip link add own0 type veth peer name own1 && ip link set own0 up", "ip link del own0", "network device of its own"},
		{"nested pid namespace", "setsid unshare -pf sleep 1000 </dev/null >/dev/null 2>&1 &", "pkill -9 sleep", "pid namespace of its own"},
	} {
		l.a.must("exec", a, argv("sh", "-c", tc.do))
		wait(t, func() bool {
			_, err := l.a.try(Order{Op: "preflight", A: a, Limit: time.Minute})
			return err != nil && strings.Contains(err.Error(), tc.want)
		}, tc.name)
		l.a.must("exec", a, argv("sh", "-c", tc.undo))
		wait(t, func() bool {
			_, err := l.a.try(Order{Op: "preflight", A: a, Limit: time.Minute})
			return err == nil
		}, tc.name+" undone")
	}
	stopped := l.c
	stopped.RunGen, stopped.Force = 2, true
	l.a.must("stop", migrate.Attempt{Container: stopped})
	if _, err := l.a.try(Order{Op: "preflight", A: a, Limit: time.Minute}); err == nil {
		t.Error("a stopped container passes")
	}
}

func wait(t *testing.T, ok func() bool, what string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not seen", what)
		}
	}
}

// TestMoveTakesAlong moves what is easily forgotten: a daemon that an exec left, a shared mapping, a file that is open but deleted,
// shared memory, a FIFO, a changed owner, and what init has said.
func TestMoveTakesAlong(t *testing.T) {
	l := newLAN(t, "debian-redis")
	c := dial(t, redis)
	c.alive()
	a := l.attempt()
	l.a.must("exec", a, argv("sh", "-c", `
		echo shared >/dev/shm/a; ln /dev/shm/a /dev/shm/b; chown daemon /dev/shm/a; mkdir -m 2750 /dev/shm/d; mkfifo /dev/shm/d/fifo
		echo deleted >/dev/shm/gone
		setsid sh -c 'echo $$ >/run/daemon.pid; exec 3</dev/shm/gone; rm /dev/shm/gone; while sleep 0.1; do :; done' </dev/null >/dev/null 2>&1 &
		sleep 0.3`))
	console := l.a.must("console", a).Text
	if !strings.Contains(console, "redis") {
		t.Errorf("console: %q", console)
	}
	files := l.a.must("mapped", a).Files
	if slices.ContainsFunc(files, func(f string) bool { return strings.HasPrefix(f, "dev/") || strings.HasPrefix(f, "/") }) {
		t.Errorf("mapped files: %q", files)
	}
	l.move(l.a, l.b)
	l.move(l.b, l.a)
	c.alive()
	want := "shared\n2 daemon 644\n2750\nfifo\ndeleted\n"
	got := l.a.must("exec", migrate.Attempt{Container: l.c}, argv("sh", "-c", `
		cat /dev/shm/b; stat -c '%h %U %a' /dev/shm/a; stat -c %a /dev/shm/d; test -p /dev/shm/d/fifo && echo fifo
		cat /proc/$(cat /run/daemon.pid)/fd/3`)).Text
	if got != want {
		t.Errorf("in the container: %q, want %q", got, want)
	}
}
