// Package cli holds the parts of vzctl-cluster that are not a command: error codes and exit codes, sizes as vzctl writes them, tables
// with vzlist's grammar, waiting rules, and a client that finds a master which answers.
//
// The client's promise: one invocation is one operation. A mutation gets one operation key and is sent with it again and again, to one
// master after the other, until an answer is there or the time is over; the masters do it once. If the last word was never heard, the
// error says UNKNOWN_OUTCOME and names the key, never "failed".
package cli
