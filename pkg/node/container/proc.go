package container

import "github.com/opencontainers/runc/libcontainer/system"

// alive tells whether pid is still the process that started at this time, and not a zombie. The pair never comes again.
func alive(pid int, startTime uint64) bool {
	if pid <= 0 {
		return false
	}
	st, err := system.Stat(pid)
	return err == nil && st.StartTime == startTime && st.State != system.Zombie && st.State != system.Dead
}
