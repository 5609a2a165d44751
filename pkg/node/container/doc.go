// Package container is the container runtime of a node: it implements [node.Runtime] on libcontainer, CRIU and netlink, and is,
// with its helpers pkg/node/criu and pkg/node/network, the one place that needs root.
//
// # A copy on the disk
//
// All paths are under [Config.DataDir] (/vz) and [Config.RunDir] (/run/vzcluster, gone after a boot):
//
//	private/CTID                     the root, owned by ids shifted by Container.IDBase
//	private/.staging/CTID.ATTEMPT/   a copy that is being made: root/ and record.json
//	private/.retired/CTID.EPOCH/     a dead copy that is being removed
//	conf/CTID.json                   the durable [Record]: epoch, generations, the container as last ordered
//	root/CTID                        where the root is mounted while the container runs
//	log/CTID/console.log             what init wrote to /dev/console
//	run: runc/CTID                   libcontainer's state
//	run: dev/CTID/{dev,shm,mask}     a tmpfs made by the host, bind-mounted as the container's /dev and /dev/shm
//
// A copy counts from the moment when private/CTID is renamed into place, and no longer from the moment when it is renamed away;
// the record is written before the first and removed after the second. So a crash leaves a staging or retired directory or a record
// without a root, none of which counts, and [Runtime.Sweep] removes them.
//
// # What a container sees
//
// A system container: its own init as pid 1 in new user, mount, pid, uts, ipc, net and cgroup namespaces. There are few mounts, since
// each one costs the freeze of a migration 1 to 4 ms and a tmpfs costs a fork of tar on top. /dev and /dev/shm are therefore made by
// the host and are external mounts for CRIU; device nodes on them work in a user namespace because the host made the tmpfs.
// spec.go derives everything from the [cluster.Container], so that a target derives the same for a restored container.
//
// In a user namespace nothing is bind-mounted read-only over /proc: its dangerous files belong to the host's root, whom nobody in the
// container is, so the kernel refuses the writes itself. A privileged container gets runc's list of read-only paths.
//
// # Life of a process tree
//
// init is a child of the agent that started it and of the host's init after that agent died. [Runtime.Run] watches every init through a
// pidfd, so that an exit is noticed either way, and cleans up after it: cgroups, network device, mounts.
package container
