// Package real has the end-to-end tests with nothing but real parts: the built binaries, real masters with Raft on disk, real agents,
// CRIU, containers made from Debian with a real Redis, hosts as network namespaces (e2e/lab), and a client whose one TCP connection
// has to live through all of it.
//
// One lab serves all tests of the package, one after the other; each leaves the cluster as it found it: every host up, every network
// healed, its own containers destroyed. The package's end asserts that taking the lab down leaves nothing on the machine.
package real
