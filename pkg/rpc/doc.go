// Package rpc is the one place where a gRPC connection or server of vzcluster is made: limits, keepalive, deadlines, recovery from
// panics and (once nodes have identities) credentials are the same everywhere, because nobody else may call grpc.NewClient or
// grpc.NewServer.
//
// grpc-go's defaults are made for friendly data centres: unlimited streams, pings after two hours, reconnects up to two minutes
// apart, and a panic in one handler ends the process. A cluster manager needs the opposite of each.
package rpc
