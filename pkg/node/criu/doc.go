// Package criu drives CRIU over its swrk socket: one worker process per dump or restore, started before it is needed,
// with every notification of CRIU reachable by a hook that may hold or fail the operation.
//
// A worker's life:
//
//	Start -> (waits for a request) -> Dump or Restore, hooks called in between -> ended
//	   \                                   |
//	    +----------- Kill, deadline -------+--> the worker and every process that it made are killed
//
// Facts that the callers build on (CRIU 4.2):
//
//   - Nothing is seized before [PreDump] is answered. Once [PostDump] is called the images are complete.
//   - At [PostRestore] every task exists and is parked before its first instruction. An error there kills them all; so does
//     the death of this process, since CRIU then reads an end of file instead of an answer. It is the only commit gate: an
//     error at a later notification is ignored by CRIU.
//   - A restore from a truncated image can hang for ever: always give the context a deadline.
//   - A killed dump leaves the tasks running, frozen by nobody, and with TCP sockets in repair mode (see [EndTCPRepair]). Until they are
//     frozen again some may have died of injected code, or closed a connection that answered reads with EPERM. So a dump is killed
//     only when it hangs.
//   - A killed CRIU can leave a helper that keeps the socket open: its death is seen by the process, not by an end of file.
//
// No configuration file of the host is read, and the environment is empty: options come from the caller alone.
package criu
