// Package masters proves what the masters promise, with the real programs on the hosts of a lab: no acknowledged write is lost and no
// read is stale, whatever is done to their processes, their disks and their number. The tests are in the _test files; they need root
// and `make build`.
package masters
