// Package etcdlog is the [store.Log] on an existing etcd: agreement is etcd's, the masters hold nothing on disk.
//
//	Commit ──> one etcd transaction: the leader key as it was, and each precondition; puts, deletes, and the head
//	Follow <── list at one revision, then watch; after a compaction of what it has not seen, list again
//	Lead   <── concurrency.Election under a lease: oldest key wins; revoked when run gave up or the process ends
//
// The revision of a key is etcd's mod revision. Below Config.Prefix:
//
//	data/KEY         the store's keys, as they are
//	data             the head: written by each commit: its mod revision is the last commit's, whatever else is in that etcd
//	election/LEASE   who stands for leader; the value says where its API is
//	hold             if it exists, nobody may lead, and it says why: see [Hold]
//
// Why it is safe: every write and every fresh read compares the create revision of the leader key, which is the term. A leader that
// was paused, cut off or deposed and elected again has another, so nothing of its former self gets through, whatever its clock says.
// Leases only decide when somebody else may try; nothing rests on them.
//
// What the site's etcd must do: compact by itself (--auto-compaction-retention), since a store in use by others is not ours to compact;
// have its quota watched (a full etcd refuses writes); and be of a version without known loss of data: 3.5.33, 3.6.14, 3.7.1 or newer.
// An etcd that was restored from a backup must not be put under running masters: they notice and end.
package etcdlog
