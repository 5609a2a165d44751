// Package redisprobe watches a live migration from where it matters: a client's one TCP connection to a Redis in the container.
//
// The probe increments a counter every millisecond and compares each reply with the one before. Since nobody else touches the
// counter, reply N+1 must be N+1: a smaller one means that increments which were acknowledged are lost, a larger one that one was
// carried out twice (two copies of the container ran, or a request was replayed). It never reconnects, and the longest times
// between two replies are what the client saw of the move.
//
// In pipelined mode requests do not wait for replies, so that frames are on the wire at every moment of the migration; each
// carries a sequence number that comes back.
package redisprobe
