package rootsync

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// Every kind of thing that a root can hold arrives as it is.
func TestAllKinds(t *testing.T) {
	needRoot(t)
	p := newPair(t, t.TempDir())
	defer p.close()
	in := func(name string) string { return filepath.Join(p.src, name) }
	mustWrite(t, in("plain"), "hello")
	mustWrite(t, in("empty"), "")
	mustWrite(t, in("bytes \xff\n\"name"), "x")
	mustWrite(t, in("setuid"), "#!")
	must(t, os.Mkdir(in("dir"), 0o750))
	mustWrite(t, in("dir/a"), "linked")
	must(t, os.Link(in("dir/a"), in("dir/b")))
	must(t, os.Link(in("dir/a"), in("c")))
	must(t, os.Symlink("/etc/passwd", in("abs")))
	must(t, os.Symlink("../../../outside", in("dir/rel")))
	must(t, unix.Mkfifo(in("fifo"), 0o620))
	must(t, unix.Mknod(in("sock"), unix.S_IFSOCK|0o777, 0))
	must(t, unix.Mknod(in("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, os.Lchown(in("abs"), 1000123, 1000456))
	for _, n := range []string{"plain", "dir", "fifo", "setuid", "null"} {
		must(t, os.Chown(in(n), 1000000, 1000001))
	}
	must(t, unix.Chmod(in("setuid"), 0o4755))
	must(t, unix.Setxattr(in("plain"), "user.x", []byte{0, 1, 2}, 0))
	must(t, unix.Setxattr(in("dir"), "user.d", []byte("dir"), 0))
	// v2 capability set: cap_net_raw+ep
	must(t, unix.Setxattr(in("setuid"), "security.capability", []byte{1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0))
	sparse, err := os.Create(in("sparse"))
	must(t, err)
	must(t, sparse.Truncate(64<<20))
	_, err = sparse.WriteAt([]byte("island"), 10<<20)
	must(t, err)
	must(t, sparse.Close())
	old := time.Unix(1_000_000_000, 123456789)
	for _, n := range []string{"plain", "dir", "."} {
		must(t, os.Chtimes(in(n), old, old))
	}
	p.round(t, false)
	sameTrees(t, p)
	var st syscall.Stat_t
	must(t, syscall.Stat(filepath.Join(p.dst, "sparse"), &st))
	if st.Blocks*512 > 1<<20 {
		t.Errorf("sparse file has %d bytes allocated", st.Blocks*512)
	}
	p.round(t, true)
	sameTrees(t, p)
}

func must(t tb, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// age moves the index out of the racy window: as if the round had run later.
func age(n *node) {
	n.racy = false
	for _, c := range n.children {
		age(c)
	}
}

// An unchanged tree costs nothing, and a change inside a big file costs the blocks that changed.
func TestOnlyWhatChanged(t *testing.T) {
	p := newPair(t, t.TempDir())
	defer p.close()
	big := filepath.Join(p.src, "big")
	mustWrite(t, big, strings.Repeat("0123456789abcdef", 1<<20/4)) // 4 MiB
	for i := range 50 {
		mustWrite(t, filepath.Join(p.src, fmt.Sprint("f", i)), "x")
	}
	p.round(t, false)
	age(p.s.index)
	if got := p.round(t, false); got.Files != 0 {
		t.Fatalf("unchanged tree: sent %+v", got)
	}
	f, err := os.OpenFile(big, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("!"), 1<<20+5)
	must(t, err)
	must(t, f.Close())
	got := p.round(t, true)
	if got.Files != 1 || got.Bytes != blockSize {
		t.Fatalf("one byte changed: sent %+v, want one file with one block", got)
	}
	sameTrees(t, p)
}

// A store that leaves no trace in the file's times is found when the file is named.
func TestForcedFileIsCompared(t *testing.T) {
	p := newPair(t, t.TempDir())
	defer p.close()
	path := filepath.Join(p.src, "mapped")
	mustWrite(t, path, strings.Repeat("a", 1<<20))
	must(t, os.Link(path, path+".2"))
	p.round(t, false)
	age(p.s.index)
	// The same in effect as a store to a mapping: other content, the index told that the times are those.
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("b"), 700000)
	must(t, err)
	must(t, f.Close())
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	for _, n := range p.s.index.children {
		n.meta = metaOf(&st)
	}
	if got := p.round(t, false); got.Files != 0 {
		t.Fatalf("the test is wrong: the change left a trace: %+v", got)
	}
	if got := p.round(t, true, "mapped", "not-there", "../x"); got.Bytes != blockSize {
		t.Fatalf("sent %+v", got)
	}
	sameTrees(t, p)
}

// A time stamp within the racy window is not believed: what was written right after the scan, in the same tick, is found.
func TestRacyTimestamps(t *testing.T) {
	p := newPair(t, t.TempDir())
	defer p.close()
	mustWrite(t, filepath.Join(p.src, "f"), "one")
	p.round(t, false)
	n := p.s.index.children["f"]
	mustWrite(t, filepath.Join(p.src, "f"), "two")
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(p.src, "f"), &st))
	n.meta = metaOf(&st) // the clock did not move between the two writes
	p.round(t, true)
	if got, _ := os.ReadFile(filepath.Join(p.dst, "f")); string(got) != "two" {
		t.Fatalf("target has %q", got)
	}
}

// Whatever is done to a tree between rounds, the last round makes the trees equal.
func TestMutationsBetweenRounds(t *testing.T) {
	base := t.TempDir()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		dir := filepath.Join(base, fmt.Sprint(run))
		must(t, os.Mkdir(dir, 0o700))
		defer os.RemoveAll(dir)
		p := newPair(t, dir)
		defer p.close()
		mutate(t, p.src, 12)
		for range rapid.IntRange(1, 3).Draw(t, "rounds") {
			p.round(t, false)
			if rapid.Bool().Draw(t, "aged") {
				age(p.s.index)
			}
			mutate(t, p.src, 8)
		}
		p.round(t, true)
		sameTrees(t, p)
	})
}

var mutationNames = []string{"a", "b", "c", "d", "a/x", "a/y", "b/x", "b/y", "a/x/1", "a/x/2", "b/x/1"}

// mutate does random things to a small set of names; what is impossible at the moment is left out.
func mutate(t *rapid.T, root string, max int) {
	name := func(what string) string {
		return filepath.Join(root, rapid.SampledFrom(mutationNames).Draw(t, what))
	}
	for range rapid.IntRange(0, max).Draw(t, "mutations") {
		path := name("name")
		switch rapid.SampledFrom([]string{"write", "write", "mkdir", "mkdir", "remove", "link", "symlink", "rename", "chmod", "socket", "patch", "truncate", "xattr", "times"}).Draw(t, "what") {
		case "write":
			_ = os.WriteFile(path, make2(rapid.IntRange(0, 9).Draw(t, "size")*100_000, byte(rapid.IntRange(0, 3).Draw(t, "fill"))), 0o644)
		case "mkdir":
			_ = os.Mkdir(path, 0o755)
		case "remove":
			_ = os.RemoveAll(path)
		case "link":
			_ = os.Link(path, name("to"))
		case "symlink":
			_ = os.Symlink(rapid.SampledFrom(mutationNames).Draw(t, "target"), path)
		case "rename":
			_ = os.Rename(path, name("to"))
		case "chmod":
			if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSymlink == 0 {
				_ = os.Chmod(path, os.FileMode(rapid.SampledFrom([]uint32{0o700, 0o755, 0o711}).Draw(t, "mode")))
			}
		case "socket": // not a fifo: opening one waits for its other end
			_ = unix.Mknod(path, unix.S_IFSOCK|0o600, 0)
		case "patch":
			if st, err := os.Lstat(path); err == nil && st.Mode().IsRegular() {
				f, err := os.OpenFile(path, os.O_RDWR, 0)
				must(t, err)
				_, _ = f.WriteAt([]byte{byte(rapid.IntRange(0, 3).Draw(t, "byte"))}, int64(rapid.IntRange(0, 900_000).Draw(t, "at")))
				must(t, f.Close())
			}
		case "truncate":
			if st, err := os.Lstat(path); err == nil && st.Mode().IsRegular() {
				_ = os.Truncate(path, int64(rapid.IntRange(0, 1_000_000).Draw(t, "length")))
			}
		case "xattr":
			if st, err := os.Lstat(path); err == nil && (st.Mode().IsRegular() || st.IsDir()) {
				if rapid.Bool().Draw(t, "set") {
					_ = unix.Setxattr(path, "user.t", []byte(rapid.SampledFrom([]string{"", "v"}).Draw(t, "value")), 0)
				} else {
					_ = unix.Removexattr(path, "user.t")
				}
			}
		case "times":
			if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSymlink == 0 {
				_ = os.Chtimes(path, time.Unix(5, 0), time.Unix(5, int64(rapid.IntRange(0, 9).Draw(t, "ns"))))
			}
		}
	}
}

func make2(n int, fill byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = fill
	}
	return b
}

// Files that come and go while they are walked and read are left for the next round.
func TestVanishingFiles(t *testing.T) {
	p := newPair(t, t.TempDir())
	defer p.close()
	must(t, os.Mkdir(filepath.Join(p.src, "d"), 0o755))
	mustWrite(t, filepath.Join(p.src, "d/a"), "a")
	mustWrite(t, filepath.Join(p.src, "b"), "b")
	mustWrite(t, filepath.Join(p.src, "c"), "c")
	c, err := p.s.Scan(context.Background(), nil)
	must(t, err)
	must(t, os.RemoveAll(filepath.Join(p.src, "d")))
	must(t, os.Remove(filepath.Join(p.src, "b")))
	must(t, os.Symlink("/etc/passwd", filepath.Join(p.src, "b")))
	mustWrite(t, filepath.Join(p.src, "c"), "longer than before")
	if _, err := p.s.Send(context.Background(), c, p.p, false); err != nil {
		t.Fatal(err)
	}
	must(t, p.r.EndRound())
	p.round(t, true)
	sameTrees(t, p)

	c, err = p.s.Scan(context.Background(), []string{"c"})
	must(t, err)
	must(t, os.Remove(filepath.Join(p.src, "c")))
	if _, err := p.s.Send(context.Background(), c, p.p, true); err == nil {
		t.Fatal("a file vanished under the freeze and nobody minded")
	}
}
