// Package migrate moves containers: the coordinator's pure plan (plan.go), the two agents' runners, the journal, and the transfer between
// them.
//
//	masters   Next: Pending -> Prepare -> Copy -> Switch ==COMMIT==> Committed -> Done, or Aborting -> Failed
//	source    prepared -> copied -> [journal freezing] freeze, dump, ship [journal shipped] -> VOTE -> thawed | destroyed
//	target    [journal begin] prepared -> [journal staged] restored -> VOTE held -> [journal releasing] released -> running | discarded
//
// Both runners are given the record (Assign), work through the phases that it has reached, and show what they have done (Status). A side that
// fails before the verdict only says so; what happens then is the masters' decision. The journals hold what a restarted agent must not guess:
//
//	source, freezing   nothing was voted: it asks for an abort; only the verdict on its own attempt thaws (R3)
//	source, shipped    it has voted: it waits, frozen
//	target, staged     the images are verified: it restores them again and votes again, or after the commit releases them
//	target, releasing  something may have run: images are never restored again (R9); tasks that are gone mean a cold start (R11)
//
// The numbers R1 to R16 in comments are the rules of the design notes on reliability; each comment says what the rule demands at that place.
package migrate
