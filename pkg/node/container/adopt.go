package container

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/system"
)

// adopt makes libcontainer manage a process tree that CRIU restored: it writes the state file that libcontainer would have written and loads
// it. cfg and m are those of [Runtime.prepareCgroups]; pid is the restored init, on the host.
func (r *Runtime) adopt(ctid string, cfg *configs.Config, m cgroups.Manager, pid int) (*libcontainer.Container, error) {
	st, err := system.Stat(pid)
	if err != nil {
		return nil, fmt.Errorf("adopt %s: %w", ctid, err)
	}
	c := *cfg
	c.Namespaces = append(configs.Namespaces{}, cfg.Namespaces...)
	// CRIU restores into a new time namespace; exec must join it.
	ours, _ := os.Readlink("/proc/self/ns/time")
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/time", pid))
	if err == nil && theirs != ours {
		c.Namespaces = append(c.Namespaces, configs.Namespace{Type: configs.NEWTIME})
	}
	s := &libcontainer.State{
		BaseState: libcontainer.BaseState{ID: ctid, InitProcessPid: pid, InitProcessStartTime: st.StartTime, Created: time.Now().UTC(),
			Config: c},
		CgroupPaths:         m.GetPaths(),
		NamespacePaths:      map[configs.NamespaceType]string{},
		ExternalDescriptors: []string{"/dev/null", "/dev/null", "/dev/null"},
	}
	for _, t := range configs.NamespaceTypes() {
		if configs.IsNamespaceSupported(t) {
			ns := configs.Namespace{Type: t}
			s.NamespacePaths[t] = ns.GetPath(pid)
		}
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("adopt %s: %w", ctid, err)
	}
	dir := filepath.Join(r.stateRoot(), ctid)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("adopt %s: %w", ctid, err)
	}
	// The state is on a tmpfs and lives as long as the process: a rename is enough.
	tmp := filepath.Join(dir, "state.json.tmp")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return nil, fmt.Errorf("adopt %s: %w", ctid, err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, "state.json")); err != nil {
		return nil, fmt.Errorf("adopt %s: %w", ctid, err)
	}
	lc, err := libcontainer.Load(r.stateRoot(), ctid)
	if err != nil {
		return nil, fmt.Errorf("adopt %s: %w", ctid, err)
	}
	r.watch.add(ctid, pid)
	return lc, nil
}
