package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func (r *Runtime) consoleFIFO(ctid string) string {
	return filepath.Join(r.deviceDir(ctid), "dev", "console")
}

// ConsoleTail implements [node.Runtime].
func (r *Runtime) ConsoleTail(ctid string, max int64) ([]byte, error) {
	if max <= 0 {
		return nil, nil
	}
	now, err := tail(r.consoleLog(ctid), max)
	if err != nil {
		return nil, fmt.Errorf("console of %s: %w", ctid, err)
	}
	if rest := max - int64(len(now)); rest > 0 {
		old, err := tail(r.consoleLog(ctid)+rotated, rest)
		if err != nil {
			return nil, fmt.Errorf("console of %s: %w", ctid, err)
		}
		now = append(old, now...)
	}
	return now, nil
}

// tail returns the last max bytes of a file, nothing of a missing one.
func tail(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.Size() > max {
		if _, err := f.Seek(fi.Size()-max, io.SeekStart); err != nil {
			return nil, err
		}
	}
	return io.ReadAll(io.LimitReader(f, max))
}

// attachConsole gives the keeper the container's console to read, and starts a keeper if there is none. After it nothing that init writes
// can be lost. [Runtime.makeDevices] has made the FIFO.
func (r *Runtime) attachConsole(ctx context.Context, ctid string) error {
	f, err := os.OpenFile(r.consoleFIFO(ctid), os.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("open console: %w", err)
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || fi.Mode().Type() != fs.ModeNamedPipe {
		return errors.Join(fmt.Errorf("the console of %s is no FIFO", ctid), err)
	}
	// A keeper that has nothing to keep goes away, maybe just when it is asked.
	for try := 0; ; try++ {
		err := r.askKeeper(ctx, opAttach, ctid, f)
		if err == nil {
			return nil
		}
		if try == 20 || ctx.Err() != nil {
			return fmt.Errorf("attach console: %w", err)
		}
		wait(ctx, 10*time.Millisecond)
	}
}

// detachConsole lets the keeper read what is left and forget the console.
func (r *Runtime) detachConsole(ctid string) error {
	c, err := net.Dial("unixpacket", r.cfg.ConsoleSocket())
	if err != nil {
		return nil // no keeper keeps it
	}
	defer c.Close()
	if err := converse(c.(*net.UnixConn), opDetach, ctid, nil); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) &&
		!errors.Is(err, unix.EPIPE) {
		return fmt.Errorf("detach console: %w", err)
	}
	return nil
}

func (r *Runtime) askKeeper(ctx context.Context, op, ctid string, f *os.File) error {
	c, err := r.dialKeeper(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return converse(c, op, ctid, f)
}

// converse sends one request and awaits its answer.
func converse(c *net.UnixConn, op, ctid string, f *os.File) error {
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	var rights []byte
	if f != nil {
		rights = unix.UnixRights(int(f.Fd()))
	}
	if _, _, err := c.WriteMsgUnix([]byte(op+" "+ctid), rights, nil); err != nil {
		return err
	}
	buf := make([]byte, 256)
	n, err := c.Read(buf)
	if err != nil {
		return err
	}
	if s := string(buf[:n]); s != "ok" {
		return fmt.Errorf("the console keeper says: %s", s)
	}
	return nil
}

// dialKeeper connects to the keeper and starts one if nobody answers.
func (r *Runtime) dialKeeper(ctx context.Context) (*net.UnixConn, error) {
	r.keeperMu.Lock()
	defer r.keeperMu.Unlock()
	sock := r.cfg.ConsoleSocket()
	c, err := net.Dial("unixpacket", sock)
	if err == nil {
		return c.(*net.UnixConn), nil
	}
	// It must outlive us, so it gets a session of its own, and nothing of ours but an empty environment.
	cmd := exec.Command(r.cfg.ConsoleKeeper[0], r.cfg.ConsoleKeeper[1:]...)
	cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the console keeper: %w", err)
	}
	gone := make(chan error, 1)
	go func() { gone <- cmd.Wait() }()
	deadline := time.Now().Add(10 * time.Second)
	for {
		if c, err = net.Dial("unixpacket", sock); err == nil {
			return c.(*net.UnixConn), nil
		}
		select {
		case werr := <-gone:
			// Another runtime's keeper may have been faster.
			if c, err = net.Dial("unixpacket", sock); err == nil {
				return c.(*net.UnixConn), nil
			}
			return nil, fmt.Errorf("the console keeper ended at once: %w", errors.Join(werr, err))
		default:
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("the console keeper does not answer: %w", err)
		}
		wait(ctx, 5*time.Millisecond)
	}
}

// keepConsoles sees to it that all running containers' consoles are kept, also after the keeper was killed: level-triggered, it hangs on
// a connection to the keeper and attaches all anew when that ends.
func (r *Runtime) keepConsoles(ctx context.Context) error {
	for ctx.Err() == nil {
		if ids := r.watch.watched(); len(ids) > 0 {
			if err := r.keepUntilGone(ctx, ids); err != nil && ctx.Err() == nil {
				r.log.Warn("consoles are not kept", "err", err)
			}
		}
		wait(ctx, time.Second)
	}
	return ctx.Err()
}

func (r *Runtime) keepUntilGone(ctx context.Context, ids []string) error {
	c, err := r.dialKeeper(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	for _, id := range ids {
		unlock := r.locks.lock(id)
		err := r.attachConsole(ctx, id)
		unlock()
		if errors.Is(err, fs.ErrNotExist) {
			continue // it ended meanwhile
		}
		if err != nil { // the others' are kept all the same
			r.log.Warn("a console is not kept", "ctid", id, "err", err)
		}
	}
	_, err = c.Read(make([]byte, 1)) // the keeper says nothing unasked: this returns when it is gone
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, unix.ECONNRESET) {
		return nil
	}
	return err
}
