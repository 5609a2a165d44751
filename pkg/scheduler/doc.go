// Package scheduler decides which node a container goes to. Pure functions over plain structs: no store, no clock, no I/O, so a
// decision can be tested, repeated, asked for beforehand, and checked again inside the transaction that carries it out.
//
// A node passes when it is online, not cordoned, not refused by the caller, and has room: capacity minus what is promised to its
// containers minus what open migrations reserve, on both of their sides. CPU may be promised more than once, up to a factor;
// memory and disk may not.
//
// Of the nodes that pass, the one with the most room left after the placement wins:
//
//	score(n) = min over r in {cpu, memory, disk} of (capacity(n,r) - used(n,r) - need(r)) / capacity(n,r)
//
// with capacity(n,cpu) already multiplied by the overcommit factor. The minimum, because a node is as full as its scarcest
// resource. Equal scores go by name, so that the same snapshot always gives the same answer.
package scheduler
