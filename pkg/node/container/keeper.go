package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	opAttach = "attach" // with the FIFO's descriptor
	opDetach = "detach"

	logLimit = 1 << 20 // bytes of one file; there are two
	rotated  = ".1"

	keeperPatience = 15 * time.Second // a keeper that nobody asks for anything goes away
)

func consoleLogIn(logDir, ctid string) string { return filepath.Join(logDir, ctid, "console.log") }

// keeper holds consoles open and writes down what comes out of them.
type keeper struct {
	logDir string
	idle   func() // called when the last console is gone

	mu       sync.Mutex
	leaving  bool
	consoles map[string]*keptConsole
}

type keptConsole struct {
	fifo *os.File
	done chan struct{} // closed when the reader has ended
}

// RunConsoleKeeper keeps the consoles that agents hand to it through the socket, until ctx ends or the last one was taken away. It is a process
// of its own, so that containers never block on a full console nor lose what they say while the agent is restarted. Only one runs per
// socket; another one waits a little for it to go, then gives up.
func RunConsoleKeeper(ctx context.Context, socket, logDir string) error {
	unlock, err := lockKeeper(ctx, socket+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("console keeper: %w", err)
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: socket, Net: "unixpacket"})
	if err != nil {
		return fmt.Errorf("console keeper: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return errors.Join(err, l.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	k := &keeper{logDir: logDir, idle: cancel, consoles: map[string]*keptConsole{}}
	// Nobody may ever ask: the agent that started us can have died.
	patience := time.AfterFunc(keeperPatience, k.leaveIfIdle)
	defer patience.Stop()
	var g errgroup.Group
	g.Go(func() error {
		<-ctx.Done()
		return l.Close()
	})
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			if ctx.Err() == nil {
				cancel()
				return errors.Join(fmt.Errorf("console keeper: %w", err), g.Wait())
			}
			break
		}
		g.Go(func() error {
			k.serve(ctx, c)
			return nil
		})
	}
	err = g.Wait()
	k.closeAll()
	return err
}

// lockKeeper makes sure that there is one keeper.
func lockKeeper(ctx context.Context, path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("console keeper: %w", err)
	}
	deadline := time.Now().Add(3 * time.Second)
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return func() { _ = f.Close() }, nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("console keeper: another one runs: %w", err), ctx.Err(), f.Close())
		}
		wait(ctx, 10*time.Millisecond)
	}
}

// serve answers the requests of one connection.
func (k *keeper) serve(ctx context.Context, c *net.UnixConn) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	buf, oob := make([]byte, 256), make([]byte, unix.CmsgSpace(4*8))
	for {
		n, oobn, _, _, err := c.ReadMsgUnix(buf, oob)
		if err != nil || n == 0 {
			return
		}
		answer, left := "ok", false
		if left, err = k.handle(string(buf[:n]), oob[:oobn]); err != nil {
			answer = err.Error()
		}
		if _, err := c.Write([]byte(answer)); err != nil {
			return
		}
		if left {
			k.leaveIfIdle()
		}
	}
}

// handle carries out one request; left says that a console was taken away.
func (k *keeper) handle(msg string, oob []byte) (left bool, err error) {
	files, err := received(oob)
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	if err != nil {
		return false, err
	}
	op, ctid, _ := strings.Cut(msg, " ")
	if ctid == "" || ctid != filepath.Base(ctid) || strings.HasPrefix(ctid, ".") {
		return false, fmt.Errorf("bad name %q", ctid)
	}
	switch {
	case op == opAttach && len(files) == 1:
		f := files[0]
		files = nil
		return false, k.attach(ctid, f)
	case op == opDetach:
		k.detach(ctid)
		return true, nil
	}
	return false, fmt.Errorf("bad request %q", msg)
}

// received returns the descriptors of a message.
func received(oob []byte) ([]*os.File, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, m := range msgs {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return files, err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "console"))
		}
	}
	return files, nil
}

func (k *keeper) attach(ctid string, fifo *os.File) error {
	k.detach(ctid) // an older hold of the same FIFO, or one of a former life
	c := &keptConsole{fifo, make(chan struct{})}
	k.mu.Lock()
	if k.leaving {
		k.mu.Unlock()
		return errors.Join(errors.New("about to leave"), fifo.Close())
	}
	k.consoles[ctid] = c
	k.mu.Unlock()
	go func() {
		defer close(c.done)
		buf := make([]byte, 1<<16)
		for {
			n, err := fifo.Read(buf)
			if err != nil {
				return // closed by detach
			}
			_ = appendLog(consoleLogIn(k.logDir, ctid), buf[:n])
		}
	}()
	return nil
}

// detach writes down what is still in the FIFO and closes it.
func (k *keeper) detach(ctid string) {
	k.mu.Lock()
	c := k.consoles[ctid]
	delete(k.consoles, ctid)
	k.mu.Unlock()
	if c == nil {
		return
	}
	fd, err := unix.FcntlInt(c.fifo.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	_ = c.fifo.Close()
	<-c.done
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if unix.SetNonblock(fd, true) != nil {
		return
	}
	buf := make([]byte, 1<<16)
	for range 64 { // whoever still writes does not keep us
		n, err := unix.Read(fd, buf)
		if n <= 0 || err != nil {
			return
		}
		_ = appendLog(consoleLogIn(k.logDir, ctid), buf[:n])
	}
}

func (k *keeper) leaveIfIdle() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.consoles) == 0 {
		k.leaving = true // what is handed over from now on would be lost
		k.idle()
	}
}

func (k *keeper) closeAll() {
	k.mu.Lock()
	ids := make([]string, 0, len(k.consoles))
	for id := range k.consoles {
		ids = append(ids, id)
	}
	k.mu.Unlock()
	for _, id := range ids {
		k.detach(id)
	}
}

// appendLog opens the file each time: a console says little, and a migration may have put another file in its place.
func appendLog(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	if fi, err := os.Lstat(path); err == nil && fi.Size()+int64(len(b)) > logLimit {
		if err := os.Rename(path, path+rotated); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW, 0o640)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(b)
	return err
}
