package unpack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

type ent struct {
	tar.Header
	body string
}

func archive(t interface{ Fatal(...any) }, es ...ent) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range es {
		h := e.Header
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(e.body))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func reg(name, body string) ent {
	return ent{tar.Header{Name: name, Mode: 0o644}, body}
}
func dir(name string) ent {
	return ent{Header: tar.Header{Name: name, Mode: 0o755, Typeflag: tar.TypeDir}}
}
func link(kind byte, name, target string) ent {
	return ent{Header: tar.Header{Name: name, Linkname: target, Mode: 0o777, Typeflag: kind}}
}

func needRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("owners of files can only be set by root")
	}
}

func TestMetadata(t *testing.T) {
	needRoot(t)
	mtime := time.Unix(1700000000, 123456789)
	big := strings.Repeat("x", 1000) + strings.Repeat("\x00", 1<<20) + "end"
	caps := "\x01\x00\x00\x02" + strings.Repeat("\x01", 16)
	raw := archive(t,
		ent{tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: mtime, Format: tar.FormatPAX}, ""},
		ent{tar.Header{Name: "./d/", Typeflag: tar.TypeDir, Mode: 0o3775, Uid: 3, Gid: 4, ModTime: mtime, Format: tar.FormatPAX}, ""},
		ent{tar.Header{Name: "./d/f", Mode: 0o4755, Uid: 1, Gid: 2, ModTime: mtime, Format: tar.FormatPAX,
			PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b", "SCHILY.xattr.security.capability": caps, "SCHILY.xattr.trusted.x": "y"}}, big},
		link(tar.TypeLink, "./hard", "./d/f"),
		link(tar.TypeSymlink, "abs", "/etc/passwd"),
		ent{Header: tar.Header{Name: "fifo", Typeflag: tar.TypeFifo, Mode: 0o600}},
		ent{Header: tar.Header{Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}},
		reg("deep/er/file", "x"),
	)
	root := t.TempDir()
	if err := Unpack(t.Context(), bytes.NewReader(raw), root, Options{IDBase: 1000000, IDRange: 65536}); err != nil {
		t.Fatal(err)
	}
	stat := func(p string) (st unix.Stat_t) {
		if err := unix.Lstat(filepath.Join(root, p), &st); err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		return st
	}
	f, d := stat("d/f"), stat("d")
	if f.Uid != 1000001 || f.Gid != 1000002 || f.Mode&0o7777 != 0o4755 || f.Nlink != 2 || f.Ino != stat("hard").Ino {
		t.Errorf("file: %+v", f)
	}
	if f.Mtim.Nano() != mtime.UnixNano() || d.Mtim.Nano() != mtime.UnixNano() {
		t.Errorf("times: %v %v", f.Mtim, d.Mtim)
	}
	if root := stat("."); root.Mtim.Nano() != mtime.UnixNano() || root.Uid != 1000000 {
		t.Errorf("root: %+v", root)
	}
	if d.Uid != 1000003 || d.Mode&0o7777 != 0o3775 {
		t.Errorf("dir: %+v", d)
	}
	if p := stat("deep"); p.Uid != 1000000 {
		t.Errorf("implied directory has owner %d", p.Uid)
	}
	if f.Blocks*512 > 200000 {
		t.Errorf("no hole: %d blocks", f.Blocks)
	}
	if b, _ := os.ReadFile(filepath.Join(root, "d/f")); string(b) != big {
		t.Error("content differs")
	}
	buf := make([]byte, 64)
	n, err := unix.Getxattr(filepath.Join(root, "d/f"), "security.capability", buf)
	if err != nil || n != capLen3 || buf[3] != 3 || !bytes.Equal(buf[20:24], []byte{0x40, 0x42, 0x0f, 0}) {
		t.Errorf("capabilities %x: %v", buf[:max(n, 0)], err)
	}
	if _, err := unix.Getxattr(filepath.Join(root, "d/f"), "trusted.x", buf); !errors.Is(err, unix.ENODATA) {
		t.Errorf("trusted attribute: %v", err)
	}
	if stat("fifo").Mode&unix.S_IFMT != unix.S_IFIFO || stat("abs").Mode&unix.S_IFMT != unix.S_IFLNK {
		t.Error("types differ")
	}
	if _, err := os.Lstat(filepath.Join(root, "dev/null")); err == nil {
		t.Error("device node unpacked")
	}
}

func TestCompressed(t *testing.T) {
	needRoot(t)
	raw := archive(t, reg("a", "hello"))
	var gz, zs bytes.Buffer
	g := gzip.NewWriter(&gz)
	_, _ = g.Write(raw)
	_ = g.Close()
	z, _ := zstd.NewWriter(&zs)
	_, _ = z.Write(raw)
	_ = z.Close()
	for name, b := range map[string][]byte{"plain": raw, "gzip": gz.Bytes(), "zstd": zs.Bytes()} {
		root := t.TempDir()
		if err := Unpack(t.Context(), bytes.NewReader(b), root, Options{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if b, _ := os.ReadFile(filepath.Join(root, "a")); string(b) != "hello" {
			t.Errorf("%s: %q", name, b)
		}
	}
}

func TestRefused(t *testing.T) {
	needRoot(t)
	dev := func(name string) ent {
		return ent{Header: tar.Header{Name: name, Typeflag: tar.TypeBlock, Devmajor: 8}}
	}
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"dotdot":             {archive(t, reg("../victim", "x")), "name with .."},
		"dotdot inside":      {archive(t, reg("a/../../victim", "x")), "name with .."},
		"absolute":           {archive(t, reg("/victim", "x")), "absolute"},
		"symlink dir":        {archive(t, link(tar.TypeSymlink, "d", ".."), reg("d/victim", "x")), "escapes"},
		"absolute symlink":   {archive(t, link(tar.TypeSymlink, "d", "/tmp"), reg("d/victim", "x")), "escapes"},
		"symlink chain":      {archive(t, link(tar.TypeSymlink, "a", "b"), link(tar.TypeSymlink, "b", "../"), dir("a/victim")), "escapes"},
		"hard link out":      {archive(t, link(tar.TypeLink, "h", "../victim")), "name with .."},
		"hard link absolute": {archive(t, link(tar.TypeLink, "h", "/etc/passwd")), "absolute"},
		"hard link by dir":   {archive(t, link(tar.TypeSymlink, "d", "/etc"), link(tar.TypeLink, "h", "d/passwd")), "escapes"},
		"device":             {archive(t, dev("dev/sda")), "device node"},
		"device elsewhere":   {archive(t, ent{Header: tar.Header{Name: "x/null", Typeflag: tar.TypeChar}}), "device node"},
		"owner":              {archive(t, ent{Header: tar.Header{Name: "f", Typeflag: tar.TypeReg, Uid: 70000}}), "outside"},
		"too large":          {archive(t, reg("f", strings.Repeat("x", 3000))), "larger than"},
		"root is a file":     {archive(t, ent{Header: tar.Header{Name: ".", Typeflag: tar.TypeReg}}), "root must be"},
		"text":               {[]byte(strings.Repeat("not a tar\n", 200)), "not a tar"},
		"empty":              {nil, "not a tar"},
		"cut gzip":           {[]byte{0x1f, 0x8b, 8}, "not a tar"},
		"truncated":          {archive(t, reg("a", "x"), reg("f", strings.Repeat("y", 2000)))[:2000], "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			root := filepath.Join(base, "root")
			if err := os.Mkdir(root, 0o755); err != nil {
				t.Fatal(err)
			}
			err := Unpack(t.Context(), bytes.NewReader(c.raw), root, Options{IDBase: 1 << 20, IDRange: 65536, MaxBytes: 2500})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want ...%s...", err, c.want)
			}
			if es, _ := os.ReadDir(base); len(es) != 1 {
				t.Errorf("written outside of the root: %v", es)
			}
		})
	}
}

// A symlink in the last place of a name is replaced, not followed.
func TestSymlinkReplaced(t *testing.T) {
	needRoot(t)
	base := t.TempDir()
	victim := filepath.Join(base, "victim")
	if err := os.WriteFile(victim, []byte("safe"), 0o600); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(base, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	raw := archive(t, link(tar.TypeSymlink, "f", victim), reg("f", "new"),
		link(tar.TypeSymlink, "d", base), dir("d"), reg("d/x", "y"))
	if err := Unpack(t.Context(), bytes.NewReader(raw), root, Options{IDBase: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(victim); string(b) != "safe" {
		t.Errorf("victim: %q", b)
	}
	if _, err := os.Stat(filepath.Join(root, "d/x")); err != nil {
		t.Error(err)
	}
}

// Whatever is in the archive, nothing outside of the root changes.
func TestNeverOutside(t *testing.T) {
	needRoot(t)
	name := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "..", ".", "", "victim"}), 1, 4).Draw(t, "parts"), "/")
	})
	rapid.Check(t, func(rt *rapid.T) {
		base, err := os.MkdirTemp("", "unpack")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(base)
		root := filepath.Join(base, "x", "root")
		if err := os.MkdirAll(root, 0o755); err != nil {
			rt.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(base, "x", "victim"), []byte("safe"), 0o640); err != nil {
			rt.Fatal(err)
		}
		var es []ent
		for range rapid.IntRange(1, 8).Draw(rt, "n") {
			n := strings.TrimRight(name.Draw(rt, "name"), "/")
			if n == "" {
				continue
			}
			switch rapid.IntRange(0, 3).Draw(rt, "kind") {
			case 0:
				es = append(es, reg(n, "evil"))
			case 1:
				es = append(es, dir(n))
			case 2:
				es = append(es, link(tar.TypeSymlink, n, name.Draw(rt, "target")))
			case 3:
				es = append(es, link(tar.TypeLink, n, name.Draw(rt, "target")))
			}
		}
		var before, after unix.Stat_t
		_ = unix.Stat(filepath.Join(base, "x", "victim"), &before)
		_ = Unpack(t.Context(), bytes.NewReader(archive(rt, es...)), root, Options{IDBase: 1 << 20})
		if err := unix.Lstat(filepath.Join(base, "x", "victim"), &after); err != nil {
			rt.Fatal(err)
		}
		b, _ := os.ReadFile(filepath.Join(base, "x", "victim"))
		if string(b) != "safe" || before.Ctim != after.Ctim || before.Nlink != after.Nlink {
			rt.Fatalf("victim changed: %q", b)
		}
		up, _ := os.ReadDir(base)
		in, _ := os.ReadDir(filepath.Join(base, "x"))
		if len(up) != 1 || len(in) != 2 {
			rt.Fatalf("outside: %v %v", up, in)
		}
	})
}
