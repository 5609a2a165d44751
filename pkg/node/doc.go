// Package node is the agent: one per host. It keeps a session to the leading master, reports everything that it holds, and brings the
// host to what the leader's directives say.
//
//	masters <== session: Report, Directive ==> Agent --- worker per container --> Runtime (node/container)
//	                                             |------- migrate.Source/Target --^
//	other agents, masters <== Node service ======'
//
// Everything is level-triggered: a Report is complete, a Directive is complete, and after each change the agent compares what it
// holds with what is wanted. Losing a message, the stream, the leader or the agent itself loses nothing: durable are the copies' own
// records (Runtime), the journals of migrations, and the agent's few numbers (state.go).
//
// Calls for one container never overlap: at most one worker or one migration has it at a time.
//
// The lease counts from when the acknowledged report was sent, on a clock that goes on while the host sleeps, and only after the first
// complete directive of the session was taken in (R14). Without it nothing is frozen and nothing is released; containers that
// run, run on: nobody may start them elsewhere.
package node
