package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/rpc"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// clusterDaemons are the real programs with their command lines.
func (c Config) clusterDaemons(h Host) []Daemon {
	switch h.Kind {
	case RoleMaster:
		master := Daemon{Role: RoleMaster, Argv: append(c.masterArgv(h), c.MasterArgs...)}
		if c.Store == StoreEtcd {
			return []Daemon{c.etcdDaemon(h), master}
		}
		return []Daemon{master}
	case RoleNode:
		return []Daemon{{Role: RoleNode, Argv: append(c.nodeArgv(h), c.NodeArgs...)}}
	}
	return nil
}

func (c Config) masterArgv(h Host) []string {
	argv := []string{
		filepath.Join(c.BinDir, "vzmaster"),
		"--id", h.Name,
		"--listen", addr(h.IP, MasterAPIPort),
	}
	if c.Store == StoreEtcd {
		argv = append(append(argv, "--store", "etcd"), EtcdArgs(c.Masters)...)
		if h.Index == 1 {
			argv = append(argv, "--bootstrap")
		}
		return argv
	}
	argv = append(argv, "--data-dir", "/vz/master", "--raft-listen", addr(h.IP, MasterRaftPort))
	// The same command line for every start: who has data goes on.
	if h.Index == 1 {
		argv = append(argv, "--bootstrap")
	}
	if c.Masters == 1 {
		return argv
	}
	others := slices.DeleteFunc(c.masterAddrs(), func(a string) bool { return a == addr(h.IP, MasterAPIPort) })
	return append(argv, "--join", strings.Join(others, ","))
}

func (c Config) nodeArgv(h Host) []string {
	return []string{
		filepath.Join(c.BinDir, "vznode"),
		"--name", h.Name,
		"--masters", strings.Join(c.masterAddrs(), ","),
		"--listen", addr(h.IP, NodePort),
		"--data-dir", "/vz",
		"--run-dir", "/run/vzcluster",
		"--bridge", nodeBridge,
		"--gateway", Gateway,
		"--nameserver", Gateway,
		"--cgroup-parent", "/" + cgroupName(c.Name) + "/" + h.Name,
	}
}

func (c Config) masterAddrs() []string {
	var out []string
	for i := 1; i <= c.Masters; i++ {
		out = append(out, addr(masterIP(i), MasterAPIPort))
	}
	return out
}

// masterIP is the address of the master's host of an index, from 1.
func masterIP(i int) string { return fmt.Sprintf("10.77.0.%d", 10+i) }

func addr(ip string, port int) string { return net.JoinHostPort(ip, strconv.Itoa(port)) }

// masterAddrs are the masters' APIs as seen inside the lab.
func (s *state) masterAddrs() []string {
	var out []string
	for _, h := range s.Hosts {
		if h.Kind == RoleMaster {
			out = append(out, addr(h.IP, MasterAPIPort))
		}
	}
	return out
}

// Masters returns the masters' APIs as reached from the machine: addresses for rpc.Dial, VZ_MASTERS and --masters.
func (l *Lab) Masters() ([]string, error) {
	s, err := loadState(l.dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, h := range s.Hosts {
		if h.Kind == RoleMaster {
			out = append(out, "unix://"+relayPath(l.dir, h.Name))
		}
	}
	return out, nil
}

// Environ returns the variables, as KEY=VALUE, with which the project's programs on the machine talk to this lab.
func (l *Lab) Environ() ([]string, error) {
	masters, err := l.Masters()
	if err != nil {
		return nil, err
	}
	return []string{
		"VZ_MASTERS=" + strings.Join(masters, ","),
		"VZLAB_NAME=" + l.name,
		"VZLAB_DIR=" + l.dir,
	}, nil
}

// WaitReady waits until a leader answers, every master is a member, and every node is online. When ctx ends first, the error
// says what is missing.
func (l *Lab) WaitReady(ctx context.Context) error {
	hosts, err := l.Hosts()
	if err != nil {
		return err
	}
	masters, err := l.Masters()
	if err != nil {
		return err
	}
	var conns []*grpc.ClientConn
	for _, m := range masters {
		conn, err := rpc.Dial(m)
		if err != nil {
			return err
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	missing := "there is no master"
	for {
		for _, conn := range conns {
			if missing = notReady(ctx, vzpb.NewClusterClient(conn), hosts); missing == "" {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the cluster is not ready: %s: %w", missing, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// notReady says what the cluster lacks of the given hosts; empty: nothing.
func notReady(ctx context.Context, api vzpb.ClusterClient, hosts []Host) string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	resp, err := api.Status(ctx, &vzpb.StatusRequest{})
	if err != nil {
		return err.Error()
	}
	var st cluster.Status
	if err := json.Unmarshal(resp.GetJson(), &st); err != nil {
		return err.Error()
	}
	masters, err := api.ListMasters(ctx, &vzpb.ListMastersRequest{})
	if err != nil {
		return err.Error()
	}
	var members []cluster.MasterInfo
	if err := json.Unmarshal(masters.GetJson(), &members); err != nil {
		return err.Error()
	}
	list, err := api.ListNodes(ctx, &vzpb.ListNodesRequest{})
	if err != nil {
		return err.Error()
	}
	online := make(map[string]bool)
	for _, r := range list.GetNodes() {
		var n cluster.Node
		if err := json.Unmarshal(r.GetJson(), &n); err != nil {
			return err.Error()
		}
		online[n.Name] = n.State == cluster.NodeOnline
	}
	var lack []string
	if st.Leader == "" {
		lack = append(lack, "no leader")
	}
	for _, h := range hosts {
		if h.Kind == RoleMaster {
			lack = append(lack, masterLacks(members, h.Name)...)
		}
		if h.Kind == RoleNode && !online[h.Name] {
			lack = append(lack, "node "+h.Name+" is not online")
		}
	}
	return strings.Join(lack, ", ")
}

// masterLacks says what a master lacks to be of full use: a member that has not heard of another one does not vote for it.
func masterLacks(members []cluster.MasterInfo, name string) []string {
	for _, m := range members {
		switch {
		case m.ID != name:
			continue
		case m.State == nil:
			return []string{"master " + name + " does not answer"}
		case !m.Voter && len(members)%2 == 1:
			return []string{"master " + name + " has no vote yet"}
		case m.RaftAddr != "" && len(m.State.Knows) < len(members):
			return []string{"master " + name + " has not heard of all others"}
		}
		return nil
	}
	return []string{"master " + name + " is not a member"}
}
