// Package unpack turns a template's tar, plain or compressed, into a container's root directory, with all metadata and with owners shifted
// into the container's range of ids.
//
// The archive is not trusted. Names and link targets with ".." or a leading slash are refused, every path is resolved beneath the
// directory ([os.Root]), so no symlink of the archive leads out of it, and nothing is written through a symlink in the last place of
// a name. Device nodes are refused, but for the usual ones in dev/, which are passed over: a container's /dev is made by its host.
package unpack
