package rootsync

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vzcluster/vzcluster/proto/vzpb"
	"golang.org/x/sys/unix"
)

// A hostile source can't write, link, or create anything outside the staging directory, or anything forbidden inside.
func TestHostileStream(t *testing.T) {
	uid, gid := uint32(os.Getuid()), uint32(os.Getgid())
	file := func(path string, size uint64) *vzpb.TransferEntry {
		return &vzpb.TransferEntry{Path: []byte(path), Mode: unix.S_IFREG | 0o644, Uid: uid, Gid: gid, Size: size}
	}
	dir := func(path string) *vzpb.TransferEntry {
		return &vzpb.TransferEntry{Path: []byte(path), Mode: unix.S_IFDIR | 0o755, Uid: uid, Gid: gid}
	}
	link := func(path, to string) *vzpb.TransferEntry {
		return &vzpb.TransferEntry{Path: []byte(path), Mode: unix.S_IFLNK | 0o777, Uid: uid, Gid: gid, Link: []byte(to)}
	}
	data := func(off uint64, n int, end bool) *vzpb.TransferData {
		return &vzpb.TransferData{Offset: off, Data: make2(n, 'x'), End: end}
	}
	for name, frames := range map[string][]any{
		"absolute":                     {file("/etc/x", 0)},
		"parent":                       {file("../x", 0)},
		"parent inside":                {dir("a"), file("a/../../x", 0)},
		"dot":                          {file("./x", 0)},
		"empty name":                   {dir("a"), file("a//x", 0)},
		"trailing slash":               {dir("a/")},
		"NUL":                          {file("a\x00b", 0)},
		"long name":                    {file(strings.Repeat("n", 256), 0)},
		"deep":                         {file(strings.Repeat("d/", 300)+"f", 0)},
		"root is a file":               {&vzpb.TransferEntry{Mode: unix.S_IFREG}},
		"root deleted":                 {&vzpb.TransferEntry{Mode: unix.S_IFDIR, Deleted: true}},
		"through a symlink":            {link("a", "OUTSIDE"), file("a/x", 0)},
		"through a relative symlink":   {link("a", "../outside"), file("a/x", 0)},
		"dir swapped for a symlink":    {dir("a"), file("a/1", 0), link("a", "OUTSIDE"), file("a/x", 0)},
		"delete through a symlink":     {link("a", "OUTSIDE"), &vzpb.TransferEntry{Path: []byte("a/victim"), Deleted: true}, file("a/x", 0)},
		"changed blocks via a symlink": {link("a", "OUTSIDE/victim"), &vzpb.TransferEntry{Path: []byte("a"), Mode: unix.S_IFREG, Size: 3, Delta: true}},
		"changed blocks of a fifo":     {&vzpb.TransferEntry{Path: []byte("a"), Mode: unix.S_IFDIR | 0o755, Uid: uid, Gid: gid}, &vzpb.TransferEntry{Path: []byte("a"), Mode: unix.S_IFREG, Size: 3, Delta: true}},
		"hard link out, absolute":      {&vzpb.TransferEntry{Path: []byte("a"), Hardlink: true, Link: []byte("OUTSIDE/victim")}},
		"hard link out, parent":        {&vzpb.TransferEntry{Path: []byte("a"), Hardlink: true, Link: []byte("../outside/victim")}},
		"hard link through a symlink":  {link("s", "OUTSIDE"), &vzpb.TransferEntry{Path: []byte("a"), Hardlink: true, Link: []byte("s/victim")}},
		"hard link to a symlink":       {link("s", "OUTSIDE/victim"), &vzpb.TransferEntry{Path: []byte("a"), Hardlink: true, Link: []byte("s")}},
		"hard link to a directory":     {dir("d"), &vzpb.TransferEntry{Path: []byte("a"), Hardlink: true, Link: []byte("d")}},
		"more bytes than announced":    {file("a", 10), data(0, 11, true)},
		"bytes behind the end":         {file("a", 10), data(10, 1, true)},
		"bytes backwards":              {file("a", 10), data(5, 5, false), data(0, 5, true)},
		"offset wraps":                 {file("a", 10), data(^uint64(0)-2, 8, true)},
		"data without a file":          {data(0, 1, true)},
		"data after the end":           {file("a", 10), data(0, 5, true), data(5, 5, true)},
		"entry in a file":              {file("a", 10), data(0, 5, false), file("b", 0)},
		"block device":                 {&vzpb.TransferEntry{Path: []byte("a"), Mode: unix.S_IFBLK | 0o600, Rdev: unix.Mkdev(8, 0)}},
		"char device":                  {&vzpb.TransferEntry{Path: []byte("a"), Mode: unix.S_IFCHR | 0o600, Rdev: unix.Mkdev(1, 1)}},
		"unknown kind":                 {&vzpb.TransferEntry{Path: []byte("a"), Mode: 0o130000}},
		"host's xattr":                 {&vzpb.TransferEntry{Path: []byte("a"), Mode: unix.S_IFDIR | 0o700, Uid: uid, Gid: gid, Xattrs: []*vzpb.TransferEntry_Xattr{{Name: "trusted.overlay.opaque", Value: []byte("y")}}}},
		"long xattr":                   {&vzpb.TransferEntry{Path: []byte("a"), Mode: unix.S_IFDIR | 0o700, Uid: uid, Gid: gid, Xattrs: []*vzpb.TransferEntry_Xattr{{Name: "user.x", Value: make([]byte, 70000)}}}},
		"too many bytes":               {file("a", 250_000), data(0, 250_000, true), file("b", 250_000), data(0, 250_000, true), file("c", 250_000), data(0, 250_000, true)},
		"too many bytes in one file":   {file("a", 1<<40), data(0, 250_000, false), data(250_000, 250_000, false), data(500_000, 250_000, false)},
		"too many files":               {dir("1"), dir("2"), dir("3"), dir("4"), dir("5"), dir("6"), dir("7")},
		"long symlink":                 {link("a", strings.Repeat("x", 5000))},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			outside, staging := filepath.Join(base, "outside"), filepath.Join(base, "staging")
			must(t, os.Mkdir(outside, 0o755))
			must(t, os.Mkdir(staging, 0o755))
			mustWrite(t, filepath.Join(outside, "victim"), "unharmed")
			before := describe(t, outside)
			r, err := NewReceiver(staging, Limits{Bytes: 600_000, Inodes: 6})
			must(t, err)
			defer r.Close()
			err = nil
			for _, f := range frames {
				switch f := f.(type) {
				case *vzpb.TransferEntry:
					f.Link = []byte(strings.ReplaceAll(string(f.Link), "OUTSIDE", outside))
					err = r.Entry(f)
				case *vzpb.TransferData:
					err = r.Data(f)
				}
				if err != nil {
					break
				}
			}
			if err == nil {
				t.Error("accepted")
			}
			if strings.HasPrefix(name, "too many") && !errors.As(err, new(*LimitError)) {
				t.Errorf("error is %v, not a LimitError", err)
			}
			after := describe(t, outside)
			if strings.Join(before, "\n") != strings.Join(after, "\n") {
				t.Errorf("outside changed:\n%v\n%v", before, after)
			}
		})
	}
}

func TestForbiddenDeviceIsNamedAtTheSource(t *testing.T) {
	needRoot(t)
	p := newPair(t, t.TempDir())
	defer p.close()
	must(t, unix.Mknod(filepath.Join(p.src, "mem"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 1))))
	c, err := p.s.Scan(t.Context(), nil)
	must(t, err)
	if _, err := p.s.Send(t.Context(), c, p.p, false); err == nil || !strings.Contains(err.Error(), "device node 1:1") {
		t.Fatalf("error %v", err)
	}
}

func FuzzCheckPath(f *testing.F) {
	for _, s := range []string{"", "a", "a/b", "../a", "/a", "a/./b", "a//b", "\xff\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if CheckPath(s) == nil && (filepath.IsAbs(s) || filepath.Clean(s) != s || !filepath.IsLocal(s)) {
			t.Fatalf("%q accepted", s)
		}
	})
}
