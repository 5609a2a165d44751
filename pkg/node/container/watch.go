package container

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// watcher waits for the end of init processes through pidfds: that works for children and for processes of an earlier agent alike.
type watcher struct {
	mu    sync.Mutex
	fds   map[string]int // pidfd by CTID
	event int            // an eventfd that interrupts poll
	exits chan string
}

func newWatcher() *watcher {
	ev, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		ev = -1
	}
	return &watcher{fds: map[string]int{}, event: ev, exits: make(chan string, 64)}
}

// add begins to watch the init of a container; a process that is already gone counts as an exit at once.
func (w *watcher) add(ctid string, pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		select {
		case w.exits <- ctid:
		default:
		}
		return
	}
	w.mu.Lock()
	if old, ok := w.fds[ctid]; ok {
		unix.Close(old)
	}
	w.fds[ctid] = fd
	w.mu.Unlock()
	w.interrupt()
}

// watched lists who is watched.
func (w *watcher) watched() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.fds))
}

func (w *watcher) interrupt() {
	one := [8]byte{1}
	_, _ = unix.Write(w.event, one[:])
}

// poll blocks until a watched process ended, or the set changed, and returns who ended.
func (w *watcher) poll() ([]string, error) {
	w.mu.Lock()
	ids := make([]string, 0, len(w.fds))
	fds := make([]unix.PollFd, 0, len(w.fds)+1)
	for id, fd := range w.fds {
		// A duplicate, since add may close the watched one meanwhile.
		if d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			ids = append(ids, id)
			fds = append(fds, unix.PollFd{Fd: int32(d), Events: unix.POLLIN})
		}
	}
	w.mu.Unlock()
	defer func() {
		for _, f := range fds[:len(ids)] {
			unix.Close(int(f.Fd))
		}
	}()
	fds = append(fds, unix.PollFd{Fd: int32(w.event), Events: unix.POLLIN})
	if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
		return nil, fmt.Errorf("poll pidfds: %w", err)
	}
	var buf [8]byte
	_, _ = unix.Read(w.event, buf[:])
	var ended []string
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, id := range ids {
		if fds[i].Revents == 0 {
			continue
		}
		// A new process may be watched under this id by now.
		if fd, ok := w.fds[id]; ok && hasEnded(fd) {
			unix.Close(fd)
			delete(w.fds, id)
			ended = append(ended, id)
		}
	}
	return ended, nil
}

func hasEnded(pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1
}

// Exits delivers the CTID of each container whose init ended, after its remains were cleaned up. It is a hint to look: [Runtime.Copies]
// has the truth, and a reader that falls far behind loses hints.
func (r *Runtime) Exits() <-chan string { return r.watch.exits }

// Run watches all inits until ctx ends, those included that an earlier agent started, cleans up after the ones that exit, and sees to it that
// the consoles are kept.
func (r *Runtime) Run(ctx context.Context) error {
	if r.watch.event < 0 {
		return errors.New("watch containers: no eventfd")
	}
	if err := r.watchRunning(); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.watchExits(ctx) })
	g.Go(func() error { return r.keepConsoles(ctx) })
	return g.Wait()
}

func (r *Runtime) watchExits(ctx context.Context) error {
	stop := context.AfterFunc(ctx, r.watch.interrupt)
	defer stop()
	for ctx.Err() == nil {
		ended, err := r.watch.poll()
		if err != nil {
			return err
		}
		for _, id := range ended {
			r.afterExit(id)
			select {
			case r.watch.exits <- id:
			default:
			}
		}
	}
	return ctx.Err()
}
