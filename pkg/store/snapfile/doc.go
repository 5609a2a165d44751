// Package snapfile is the cluster's state in a file: what `store snapshot save` writes and `store snapshot restore` begins a new cluster
// from, on either back end.
//
// A file is zstd over lines of JSON: a [Header], one line for each key with its value and revision, and a last line with the BLAKE3 sum
// of all bytes before it. A file that is cut off, or of which a byte was changed, is refused.
//
// # Why a restore is a rebirth
//
// The hosts have lived on since the snapshot was taken: containers were started, stopped, moved. So a restored state must not be
// believed where it speaks of hosts, and nothing that it orders may be taken for an order of before. [Reborn] raises every epoch, id
// counter and the terms by [Jump], gives the cluster a new id, so that masters of before can't take part, and marks every container as
// one to adopt: nobody acts on it until the leader has seen where it really is (pkg/master, adopt.go).
package snapfile
