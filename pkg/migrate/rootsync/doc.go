// Package rootsync copies a container's root file system to another host while the container runs, round after round, until
// little is left to do under the freeze.
//
//	Sender:   Scan (parallel walk, compared with the former round) -> changes -> Send (entries, data)
//	Receiver: Entry, Data... -> EndRound -> Sync
//
// What makes it right:
//
//   - An entry counts as changed when any of dev, ino, mode, uid, gid, size, mtime, ctime, nlink, rdev differs from what was sent.
//     A change of content, owner, mode, links or xattrs always moves ctime, which no process can set back.
//   - A time stamp that is younger than one second at the start of its scan proves nothing (more may have happened within the
//     clock's tick), so such an entry is sent again in the next round.
//   - Files that a process has mapped shared and writable can change without a trace; the caller names them and they are compared.
//   - Files that vanish or change while they are read are normal: the next round sees it. Only the last round runs under freeze.
//   - Deletions are the names of the former round that are not there any more.
//
// The sender opens what it sends without following any symbolic link and takes everything it says from the opened file, not from a
// second look-up. The receiver trusts nothing: it works below one directory descriptor, resolves with openat2 (beneath, no links),
// makes device nodes only from a short list, and stops at the limits of the reservation.
//
// Changed files of 256 KiB and more are sent as the 64 KiB blocks that differ from what was sent before.
package rootsync
