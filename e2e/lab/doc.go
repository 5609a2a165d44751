// Package lab runs a whole cluster of hosts on one machine, for the demo, the end-to-end tests and people at a keyboard.
//
// A host (m1.. masters, n1.. nodes, client) is a process tree of its own:
//
//	keeper (vzlab host-init: pid 1 of the host)
//	  own pid, network, mount, uts and ipc namespaces
//	  own root: a tmpfs with the machine's directories bound into it, but an own /vz (on disk), /run (tmpfs), /proc and /sys
//	  vzmaster | vznode, started and reaped by the keeper, and whatever they start
//
// Because the keeper is the init of the host's pid namespace, one SIGKILL is a power failure: every process of the host,
// containers included, dies at once, and with the last of them go the mounts and the network. What is on disk stays.
//
// The hosts are joined by a bridge in one more network namespace (the LAN):
//
//	 [m1 eth0]--p-m1--+            +--p-n1--[eth0 -> vzbr0 n1]
//	                  |  lan0 (LAN)|
//	[client eth0]-p-client---------+--p-n2--[eth0 -> vzbr0 n2]
//
// No namespace is pinned by a mount and no link lives in the machine's own network namespace, so nothing of the lab outlasts
// its processes except the state directory and the cgroups "vzlab-NAME", which Down removes. Everything that can be found by
// name carries the lab's name, so labs with different names do not touch each other.
//
// The state directory holds:
//
//	state.json         what there is and how it shall be (hosts, their processes, cuts, rates); written before it is made
//	HOST.ctl           the keeper's control socket
//	HOST.api           unix socket that relays to a master's API, so that the machine needs no route into the lab
//	HOST/vz            the host's /vz
//	logs/              one file for each process ever started
package lab
