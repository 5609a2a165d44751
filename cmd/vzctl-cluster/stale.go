package main

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/rpc"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// staleCall makes a question one that any master answers from what it has. The answer says as of when it is.
func (a *app) staleCall(call cli.Call) cli.Call {
	return func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) error {
		var head metadata.MD
		ctx = metadata.AppendToOutgoingContext(ctx, rpc.StaleKey, "1")
		err := call(ctx, stub, append(opts, grpc.Header(&head))...)
		if err == nil && !a.staleSaid {
			a.staleSaid = true
			fmt.Fprintln(a.err, cli.Line(asOf(head, time.Now())))
		}
		return err
	}
}

// asOf says how old a stale answer may be.
func asOf(head metadata.MD, now time.Time) string {
	one := func(key string) string {
		if v := head.Get(key); len(v) > 0 {
			return v[0]
		}
		return "?"
	}
	from := fmt.Sprintf("master %s, revision %s", one(rpc.ServedByKey), one(rpc.RevKey))
	at, err := time.Parse(time.RFC3339Nano, one(rpc.AsOfKey))
	if err != nil {
		return "stale: nobody knows how old this is (" + from + ")"
	}
	return fmt.Sprintf("stale: as of %s, %v ago (%s)", at.Local().Format("2006-01-02 15:04:05.000"), max(0, now.Sub(at)).Round(time.Millisecond), from)
}
