// Vzbench measures what a client sees of a migration: the product's, through its command line, and beside it in the same run the
// classic way by hand (classic.sh: runc checkpoint, rsync, runc restore).
//
// Both ways get the same lab hosts and links, the same rootfs template, the same init and Redis with the same data, and the same
// client. They take turns, run by run, and in turns go first, so that what else the machine does hits both; before each move as much
// memory as it needs is touched. Whatever one of them moved is idle in memory while the other is measured.
//
// A move counts as good when the client's one TCP connection lived through it, the counter that it increments has neither lost nor
// repeated an increment, and Redis' own digest of all data is what it was. For the product anything else is a failure of the
// benchmark; for the classic way it is a result, which is reported.
package main
