package container

import (
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/vzcluster/vzcluster/pkg/node"
)

// pipes are the three pipes of a process without a terminal. They are ours rather than os/exec's, which would wait for the caller's Stdin.
type pipes struct {
	theirs []*os.File // closed when the process has them
	in     *os.File
	delivery
}

// delivery carries a process's output to the caller.
type delivery struct {
	outs   []*os.File
	ended  atomic.Bool
	copies sync.WaitGroup
}

// deliver copies until the end of file. Once the process has ended it also stops when nothing came for a while: a daemon that the process
// left may hold the other end for ever. What is there is delivered, however slowly the caller takes it.
func (d *delivery) deliver(to io.Writer, from *os.File) {
	buf := make([]byte, 1<<15)
	for {
		began, ended := time.Now(), d.ended.Load()
		if ended {
			_ = from.SetReadDeadline(began.Add(outputGrace))
		}
		n, err := from.Read(buf)
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				to = io.Discard // the process must not block on a caller that is gone
			}
		}
		// end's wake-up is an expired deadline as well.
		if err != nil && !(errors.Is(err, os.ErrDeadlineExceeded) && (!ended || time.Since(began) < outputGrace)) {
			return
		}
	}
}

// end is called when the process has ended; it returns when its output is delivered.
func (d *delivery) end() {
	d.ended.Store(true)
	for _, f := range d.outs {
		_ = f.SetReadDeadline(time.Now()) // wakes a reader that waits; it looks once more
	}
	d.copies.Wait()
	for _, f := range d.outs {
		_ = f.Close()
	}
}

func pipeStdio(p *libcontainer.Process, e node.ExecSpec) (_ stdio, err error) {
	s := &pipes{}
	defer func() {
		if err != nil {
			s.started()
			s.finish()
		}
	}()
	in, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.theirs, s.in, p.Stdin = append(s.theirs, in), w, in
	if e.Stdin == nil {
		_ = w.Close()
	} else {
		go func() {
			_, _ = io.Copy(w, e.Stdin) // ends when the process closes its end, or with the caller's stream
			_ = w.Close()
		}()
	}
	if p.Stdout, err = s.out(e.Stdout); err != nil {
		return nil, err
	}
	if same(e.Stdout, e.Stderr) { // one pipe keeps their order, and the caller's writer from being used twice at a time
		p.Stderr = p.Stdout
		return s, nil
	}
	if p.Stderr, err = s.out(e.Stderr); err != nil {
		return nil, err
	}
	return s, nil
}

// out makes a pipe whose content goes to a writer, and returns the process's end.
func (s *pipes) out(to io.Writer) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.theirs, s.outs = append(s.theirs, w), append(s.outs, r)
	if to == nil {
		to = io.Discard
	}
	s.copies.Go(func() { s.deliver(to, r) })
	return w, nil
}

// same compares writers; those that cannot be compared differ.
func same(a, b io.Writer) bool {
	return a != nil && b != nil && reflect.TypeOf(a).Comparable() && reflect.TypeOf(b).Comparable() && a == b
}

func (s *pipes) started() {
	for _, f := range s.theirs {
		_ = f.Close()
	}
}

func (s *pipes) resize(uint16, uint16) error { return nil }

func (s *pipes) finish() {
	if s.in != nil {
		_ = s.in.Close()
	}
	s.end()
}

// terminal is the master's end of a pseudo terminal that the process opened in the container's devpts and sent here.
type terminal struct {
	ours, theirs *os.File // sockets on which the master comes
	e            node.ExecSpec
	mu           sync.Mutex
	master       *os.File
	delivery
}

func ttyStdio(p *libcontainer.Process, e node.ExecSpec) (stdio, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	t := &terminal{ours: os.NewFile(uintptr(fds[0]), "console"), theirs: os.NewFile(uintptr(fds[1]), "console"), e: e}
	p.ConsoleSocket = t.theirs
	select { // the first size is there before the process is
	case s := <-e.Resize:
		p.ConsoleHeight, p.ConsoleWidth = s[0], s[1]
	default:
	}
	return t, nil
}

func (t *terminal) started() {
	_ = t.theirs.Close()
	defer t.ours.Close()
	master, err := receiveMaster(t.ours)
	if err != nil {
		return // the process did not come so far
	}
	t.mu.Lock()
	t.master = master
	t.mu.Unlock()
	if t.e.Stdin != nil {
		go func() {
			if _, err := io.Copy(master, t.e.Stdin); err == nil {
				_, _ = master.Write([]byte{4}) // a terminal has no other end of file
			}
		}()
	}
	out := t.e.Stdout
	if out == nil {
		out = io.Discard
	}
	t.outs = append(t.outs, master)
	t.copies.Go(func() { t.deliver(out, master) }) // ends with EIO when the last process has closed the terminal
}

func receiveMaster(sock *os.File) (*os.File, error) {
	c, err := net.FileConn(sock)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.New("not a unix socket")
	}
	name, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := uc.ReadMsgUnix(name, oob)
	if err != nil {
		return nil, err
	}
	files, err := received(oob[:n])
	if err != nil || len(files) != 1 {
		for _, f := range files {
			_ = f.Close()
		}
		return nil, errors.Join(errors.New("no terminal came"), err)
	}
	defer files[0].Close()
	fd, err := unix.FcntlInt(files[0].Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	// Non-blocking from the beginning, so that deadlines work.
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "terminal"), nil
}

func (t *terminal) resize(rows, cols uint16) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.master == nil {
		return nil
	}
	c, err := t.master.SyscallConn()
	if err != nil {
		return err
	}
	if cerr := c.Control(func(fd uintptr) {
		err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	}); cerr != nil {
		return cerr
	}
	return err
}

func (t *terminal) finish() { t.end() }
