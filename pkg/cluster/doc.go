// Package cluster is the vocabulary that every other package shares: containers, nodes, migrations, templates, and the
// state machines they go through. Plain structs and pure functions, no I/O.
//
// For each state machine there is one edge table and one gate (see [Move]); nothing else may change a state:
//
//	migration:  Pending -> Prepare -> Copy -> Switch ==COMMIT==> Committed -> Done
//	               |          |        |        |               (forward only)
//	               +----------+--------+--------+--> Aborting -> Failed
//
//	container:  creating -> stopped <-> running -> ... -> destroying
//	node:       online <-> unknown -> offline -> online
//
// Every record field has one writer: the leader. What agents report is copied into records by the leader, in one place.
// Records are stored and sent as JSON of these structs; a field may be added, never given another meaning.
package cluster

// Version is the version of the binaries, set by the linker.
var Version = "dev"
