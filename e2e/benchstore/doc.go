// Command vzbenchstore measures what the masters' agreement costs: writes per second and their latency at 1 to 64 clients, how long
// nothing can be written after the leader was killed, and what a full state costs (memory, snapshots, the pause that they make).
//
// Each measurement is made on the embedded raft and, in the same run and by the same client code, on etcd: three processes each on
// this machine, three data directories on one disk, fsync on. "log" is the agreement alone: a raft member is wrapped in a process
// that answers etcd's own Txn call, so that both are driven with the very same messages over gRPC. "masters" is the whole way of a
// change of a real cluster: three vzmaster over each of them, driven through the cluster API.
//
// The order of the two changes from step to step, so that neither always gets the quieter machine.
package main
