// Package term carries the term of a leadership in the context of what runs under it, so that a log can refuse a write of one that
// is over: the member may have lost and regained the leadership before the writer noticed.
package term

import "context"

type key struct{}

// With returns a context under the leadership of a term.
func With(ctx context.Context, term uint64) context.Context {
	return context.WithValue(ctx, key{}, term)
}

// Of returns the term that ctx runs under, and whether it runs under any.
func Of(ctx context.Context) (uint64, bool) {
	term, ok := ctx.Value(key{}).(uint64)
	return term, ok
}
