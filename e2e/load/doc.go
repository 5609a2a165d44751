// Package load puts real masters under load without real hosts: nodes that only keep their session, and clients that write and read
// registers through the cluster API and record every call as a history for a linearizability checker.
//
// A register is the reason of a node's cordon: any text, written by CordonNode, read by ListNodes, kept in the masters alone. What
// is true of it is true of every record, because all of them go through the same log and the same transactions.
package load
