package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Descriptors that a keeper is started with.
const (
	keeperSpecFd   = 3 // the spec as one line of JSON; afterwards its end of file is the keeper's end, unless keeperStay came
	keeperStatusFd = 4 // the keeper writes keeperReady, or what went wrong
)

const (
	keeperReady = "ready\n"
	keeperStay  = 's'
)

// keeperSpec is all that a keeper knows of the lab.
type keeperSpec struct {
	Lab  string
	Dir  string // state directory
	Host string
	Env  []string
	// Hosts fills /etc/hosts.
	Hosts map[string]string // name -> address
	// Relay is the address inside the lab that HOST.api leads to; empty: none.
	Relay string
	// OwnRoot gives the host a root of its own; the LAN has none, since nothing but the bridge lives there.
	OwnRoot bool
}

// HostInit is the body of the hidden command "host-init": pid 1 of a lab host. It is to be called first thing in main, before
// anything has touched the network or the file system, and it returns only when the host could not be set up.
func HostInit() error {
	status := os.NewFile(keeperStatusFd, "status")
	specFile := os.NewFile(keeperSpecFd, "spec")
	if status == nil || specFile == nil || os.Getpid() != 1 {
		return errors.New("host-init is started by vzlab only")
	}
	in := bufio.NewReader(specFile)
	err := runKeeper(in, status)
	fmt.Fprintln(status, err)
	return err
}

func runKeeper(in *bufio.Reader, status io.WriteCloser) error {
	line, err := in.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read spec: %w", err)
	}
	var spec keeperSpec
	if err := json.Unmarshal(line, &spec); err != nil {
		return fmt.Errorf("read spec: %w", err)
	}
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGPIPE)

	// The sockets are made first: their paths are the machine's.
	control, err := listenUnix(controlPath(spec.Dir, spec.Host))
	if err != nil {
		return err
	}
	var api net.Listener
	if spec.Relay != "" {
		if api, err = listenUnix(relayPath(spec.Dir, spec.Host)); err != nil {
			return err
		}
	}
	if spec.OwnRoot {
		if err := unix.Sethostname([]byte(spec.Host)); err != nil {
			return fmt.Errorf("set host name: %w", err)
		}
		if err := ownRoot(spec); err != nil {
			return err
		}
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}

	sup := newSupervisor(spec)
	g, ctx := errgroup.WithContext(context.Background())
	g.Go(func() error { return watchParent(in) })
	g.Go(func() error { return sup.reap(ctx) })
	g.Go(func() error { return serveControl(control, sup) })
	if api != nil {
		g.Go(func() error { return relay(api, spec.Relay) })
	}
	if _, err := io.WriteString(status, keeperReady); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	status.Close()
	<-ctx.Done()
	slog.Error("host ends", "err", context.Cause(ctx))
	// The end of pid 1 is the end of the host: there is nothing to wait for.
	os.Exit(1)
	return nil
}

// watchParent returns an error when the process that made the host ends without having said that the host shall stay.
func watchParent(in *bufio.Reader) error {
	b, err := in.ReadByte()
	if err == nil && b == keeperStay {
		return nil
	}
	return errors.New("the process that made the host has ended")
}

func controlPath(dir, host string) string { return filepath.Join(dir, host+".ctl") }
func relayPath(dir, host string) string   { return filepath.Join(dir, host+".api") }
func vzPath(dir, host string) string      { return filepath.Join(dir, host, "vz") }

func logPath(dir, host, role string) string {
	return filepath.Join(dir, logsDir, host+"-"+role+".log")
}

func listenUnix(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return l, nil
}

// relay copies between each connection to l and a connection of its own to addr. A connection that cannot be made is closed,
// which is what a caller of a dead master would see.
func relay(l net.Listener, addr string) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return fmt.Errorf("relay: %w", err)
		}
		go func() {
			defer c.Close()
			up, err := net.Dial("tcp", addr)
			if err != nil {
				return
			}
			defer up.Close()
			go func() {
				io.Copy(up, c) //nolint:errcheck // either way this direction is over
				up.(*net.TCPConn).CloseWrite()
			}()
			io.Copy(c, up) //nolint:errcheck // as above
		}()
	}
}
