package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/vzcluster/vzcluster/pkg/rpc"
)

// The back ends that are measured.
const (
	raftKind = "raft"
	etcdKind = "etcd"
)

// kinds in the order of the tables.
var kinds = []string{raftKind, etcdKind}

// groupSize is how many members agree.
const groupSize = 3

// member is one process.
type member struct {
	name, api, peer string
	argv            []string
	cmd             *exec.Cmd
	exited          chan struct{}
	conn            *grpc.ClientConn
	log             string
}

// group is three processes that agree with each other.
type group struct {
	kind    string
	members []*member
}

// ports finds free ports. Nobody else takes them before they are used, or the member that needs one says so.
func ports(n int) ([]string, error) {
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		out = append(out, l.Addr().String())
	}
	return out, nil
}

// newGroup starts three members of a kind with empty data directories under dir and waits until one leads.
func newGroup(ctx context.Context, kind, dir string, extra ...string) (*group, error) {
	addrs, err := ports(2 * groupSize)
	if err != nil {
		return nil, err
	}
	var peers []string
	for i := range groupSize {
		peers = append(peers, fmt.Sprintf("m%d=%s", i+1, addrs[groupSize+i]))
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	g := &group{kind: kind}
	for i := range groupSize {
		name := fmt.Sprintf("m%d", i+1)
		data := filepath.Join(dir, kind, name)
		argv := append([]string{self, memberCommand, "--kind", kind, "--name", name, "--dir", data, "--api", addrs[i],
			"--peers", strings.Join(peers, ",")}, extra...)
		g.members = append(g.members, &member{name: name, api: addrs[i], peer: addrs[groupSize+i], argv: argv, log: data + ".log"})
	}
	for _, m := range g.members {
		if err := m.start(); err != nil {
			return nil, errors.Join(err, g.close())
		}
	}
	if _, err := g.leader(ctx); err != nil {
		return nil, errors.Join(err, g.close())
	}
	return g, nil
}

// start starts the member's process; it dies with this one.
func (m *member) start() error {
	if err := os.MkdirAll(filepath.Dir(m.log), 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	m.cmd = exec.Command(m.argv[0], m.argv[1:]...)
	m.cmd.Stdout, m.cmd.Stderr = out, out
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := m.cmd.Start(); err != nil {
		return err
	}
	m.exited = make(chan struct{})
	go func() {
		_ = m.cmd.Wait() // how it ended is in its log
		close(m.exited)
	}()
	if m.conn == nil {
		// etcd hangs up on clients that ping an idle connection.
		m.conn, err = rpc.Dial(m.api, grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}))
	}
	return err
}

// stop ends the process by sig and waits for its end.
func (m *member) stop(sig syscall.Signal) error {
	if m.cmd == nil || m.cmd.Process == nil {
		return nil
	}
	_ = m.cmd.Process.Signal(sig) // it may have ended
	select {
	case <-m.exited:
		return nil
	case <-time.After(20 * time.Second):
		_ = m.cmd.Process.Kill()
		<-m.exited
		return fmt.Errorf("%s did not end by itself; its log: %s", m.name, tail(m.log))
	}
}

func (g *group) close() error {
	var errs []error
	for _, m := range g.members {
		if m.conn != nil {
			_ = m.conn.Close() // nothing is in flight
		}
		errs = append(errs, m.stop(syscall.SIGTERM))
	}
	return errors.Join(errs...)
}

// leader waits until all members that run agree on one leader, and returns it.
func (g *group) leader(ctx context.Context) (*member, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		var found *member
		agree := true
		for _, m := range g.members {
			select {
			case <-m.exited:
				continue
			default:
			}
			one, cancel := context.WithTimeout(ctx, 2*time.Second)
			st, err := pb.NewMaintenanceClient(m.conn).Status(one, &pb.StatusRequest{})
			cancel()
			if err != nil || st.Leader == 0 {
				agree = false
				continue
			}
			if st.Header.MemberId == st.Leader {
				found = m
			}
		}
		if found != nil && agree {
			return found, nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			var logs []string
			for _, m := range g.members {
				logs = append(logs, m.name+": "+tail(m.log))
			}
			return nil, fmt.Errorf("three members of %s found no leader: %w\n%s", g.kind, ctx.Err(), strings.Join(logs, "\n"))
		}
	}
}

// tail returns the end of a log.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b[max(0, len(b)-600):]))
}
