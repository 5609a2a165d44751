package container

import (
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/vzcluster/vzcluster/pkg/node"
)

// pipes are the three pipes of a process without a terminal. They are ours rather than os/exec's, which would wait for the caller's Stdin.
type pipes struct {
	theirs []*os.File // closed when the process has them
	in     *os.File
	outs   []*os.File
	copies sync.WaitGroup
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
	s.copies.Go(func() { _, _ = io.Copy(to, r) })
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
	for _, f := range s.outs {
		_ = f.SetReadDeadline(time.Now().Add(outputGrace))
	}
	s.copies.Wait()
	for _, f := range s.outs {
		_ = f.Close()
	}
}

// terminal is the master's end of a pseudo terminal that the process opened in the container's devpts and sent here.
type terminal struct {
	ours, theirs *os.File // sockets on which the master comes
	e            node.ExecSpec
	mu           sync.Mutex
	master       *os.File
	copies       sync.WaitGroup
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
	t.copies.Go(func() { _, _ = io.Copy(out, master) }) // ends with EIO when the last process has closed the terminal
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

func (t *terminal) finish() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.master == nil {
		return
	}
	_ = t.master.SetReadDeadline(time.Now().Add(outputGrace))
	t.copies.Wait()
	_ = t.master.Close()
}
