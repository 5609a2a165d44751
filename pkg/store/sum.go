package store

import "github.com/vzcluster/vzcluster/pkg/cluster"

// Sum is a checksum of all that is stored, after one entry of the log.
type Sum = cluster.Sum
