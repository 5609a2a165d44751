// Package memlog is a [store.Log] in memory, for tests and for the simulator: several members share one log, the leadership moves
// when the test says so, and faults can be injected into each commit.
//
//	c := memlog.New(3)
//	s := store.New(c.Member(0))         // go s.Run(ctx); go s.Lead(ctx, run)
//	c.Elect(1)                          // member 1 leads as soon as it calls Lead
//	c.Cut(1)                            // it is alone: another one takes over
//	c.Inject(0, memlog.UnknownDone)     // its next commit happens, but it is not told so
//
// Everything is decided at once and in a fixed order, so a test that is deterministic itself stays so.
package memlog
