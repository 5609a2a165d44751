package migrate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate/rootsync"
	"github.com/vzcluster/vzcluster/proto/vzpb"
	"pgregory.net/rapid"
)

func TestEnough(t *testing.T) {
	round := func(files, bytes uint64) Round { return Round{Files: files, Bytes: bytes} }
	for name, c := range map[string]struct {
		rounds []Round
		want   bool
	}{
		"none yet":                {nil, false},
		"first, large":            {[]Round{round(5000, 1<<30)}, false},
		"first, tiny root":        {[]Round{round(10, 1000)}, true},
		"shrinking":               {[]Round{round(5000, 1<<30), round(500, 1<<28)}, false},
		"within the budget":       {[]Round{round(5000, 1<<30), round(5, 1000)}, true},
		"few bytes, many files":   {[]Round{round(5000, 1<<30), round(500, 1000)}, false},
		"no progress":             {[]Round{round(5000, 1<<30), round(4900, 1<<30)}, true},
		"bytes shrink, files not": {[]Round{round(5000, 1<<30), round(5000, 1<<28)}, false},
		"many":                    {[]Round{round(1<<20, 1<<36), round(1<<19, 1<<35), round(1<<18, 1<<34), round(1<<17, 1<<33), round(1<<16, 1<<32), round(1<<15, 1<<31)}, true},
	} {
		if got := Enough(c.rounds); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// Whatever the rounds bring, there is an end.
func TestEnoughEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rounds []Round
		for !Enough(rounds) {
			if len(rounds) == maxRounds {
				t.Fatalf("no end after %d rounds", len(rounds))
			}
			rounds = append(rounds, Round{Files: rapid.Uint64().Draw(t, "files"), Bytes: rapid.Uint64().Draw(t, "bytes")})
		}
	})
}

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(10 << 20)
		start := time.Now()
		for range 400 { // 100 MiB
			if err := l.take(t.Context(), chunkSize); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took < 9800*time.Millisecond || took > 10*time.Second {
			t.Errorf("100 MiB at 10 MiB/s took %v", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.take(ctx, 100<<20); !errors.Is(err, context.Canceled) {
			t.Errorf("after cancel: %v", err)
		}
	})
	if err := newLimiter(0).take(t.Context(), 1<<40); err != nil {
		t.Error(err)
	}
}

func goodManifest() (*Manifest, Attempt, []File) {
	a := Attempt{ID: "7", Epoch: 4, Container: cluster.Container{CTID: "101", Node: "n1"}}
	files := []File{{SetImages, "pages-1.img", 10, "aa"}, {SetConsole, consoleLog, 1, "bb"}}
	return &Manifest{Version: 1, Migration: "7", CTID: "101", Epoch: 4, Source: "n1", Target: "n2", Rootfs: rootsync.Sum{Entries: 1, Bytes: 2, Digest: "cc"}, Files: files}, a, files
}

// Every single difference between what was sent and what arrived is found.
func TestManifestVerify(t *testing.T) {
	m, a, files := goodManifest()
	body, digest, err := m.Encode()
	if err != nil || digest != DigestOf(body) {
		t.Fatal(err)
	}
	back, err := DecodeManifest(body)
	if err != nil {
		t.Fatal(err)
	}
	if err := back.verify(a, "n2", m.Rootfs, files); err != nil {
		t.Fatalf("the right one: %v", err)
	}
	for name, change := range map[string]func(m *Manifest){
		"migration": func(m *Manifest) { m.Migration = "8" },
		"ctid":      func(m *Manifest) { m.CTID = "102" },
		"epoch":     func(m *Manifest) { m.Epoch = 5 },
		"source":    func(m *Manifest) { m.Source = "n3" },
		"target":    func(m *Manifest) { m.Target = "n3" },
		"root":      func(m *Manifest) { m.Rootfs.Digest = "cd" },
		"entries":   func(m *Manifest) { m.Rootfs.Entries++ },
		"size":      func(m *Manifest) { m.Files = []File{{SetImages, "pages-1.img", 11, "aa"}, files[1]} },
		"digest":    func(m *Manifest) { m.Files = []File{{SetImages, "pages-1.img", 10, "ab"}, files[1]} },
		"name":      func(m *Manifest) { m.Files = []File{{SetImages, "pages-2.img", 10, "aa"}, files[1]} },
		"set":       func(m *Manifest) { m.Files = []File{{SetConsole, "pages-1.img", 10, "aa"}, files[1]} },
		"less":      func(m *Manifest) { m.Files = files[:1] },
		"more":      func(m *Manifest) { m.Files = append(files[:2:2], File{SetImages, "x", 0, ""}) },
		"twice":     func(m *Manifest) { m.Files = []File{files[0], files[0]} },
	} {
		m, _, _ := goodManifest()
		change(m)
		if err := m.verify(a, "n2", rootsync.Sum{Entries: 1, Bytes: 2, Digest: "cc"}, files); err == nil {
			t.Errorf("%s: not found", name)
		}
	}
}

func FuzzDecodeManifest(f *testing.F) {
	m, _, _ := goodManifest()
	body, _, _ := m.Encode()
	f.Add(body)
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"version":1}{"version":1}`))
	f.Add([]byte(`{"version":1,"extra":0}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := DecodeManifest(body)
		if err == nil && m.Version != manifestVersion {
			t.Fatalf("version %d accepted", m.Version)
		}
	})
}

// A hostile source can't put an image file anywhere else, nor more than the container can have.
func TestFileReceiverRefuses(t *testing.T) {
	for name, frames := range map[string][]any{
		"parent":          {&vzpb.TransferFile{Set: SetImages, Name: "../x"}},
		"absolute":        {&vzpb.TransferFile{Set: SetImages, Name: "/etc/x"}},
		"slash":           {&vzpb.TransferFile{Set: SetImages, Name: "a/b"}},
		"dots":            {&vzpb.TransferFile{Set: SetImages, Name: ".."}},
		"hidden":          {&vzpb.TransferFile{Set: SetImages, Name: ".x"}},
		"empty":           {&vzpb.TransferFile{Set: SetImages}},
		"set":             {&vzpb.TransferFile{Set: "etc", Name: "x"}},
		"console's name":  {&vzpb.TransferFile{Set: SetConsole, Name: "x"}},
		"twice":           {&vzpb.TransferFile{Set: SetImages, Name: "x"}, &vzpb.TransferData{End: true}, &vzpb.TransferFile{Set: SetImages, Name: "x"}},
		"within a file":   {&vzpb.TransferFile{Set: SetImages, Name: "x"}, &vzpb.TransferFile{Set: SetImages, Name: "y"}},
		"gap":             {&vzpb.TransferFile{Set: SetImages, Name: "x"}, &vzpb.TransferData{Offset: 1, Data: []byte("a")}},
		"over the limit":  {&vzpb.TransferFile{Set: SetImages, Name: "x"}, &vzpb.TransferData{Data: make([]byte, 101)}},
		"a link is there": {&vzpb.TransferFile{Set: SetImages, Name: "link"}},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			images, console := filepath.Join(base, "images"), filepath.Join(base, "console")
			for _, d := range []string{images, console} {
				if err := os.Mkdir(d, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink(filepath.Join(base, "victim"), filepath.Join(images, "link")); err != nil {
				t.Fatal(err)
			}
			r, err := newFileReceiver(images, console, 100)
			if err != nil {
				t.Fatal(err)
			}
			defer r.close()
			for _, f := range frames {
				switch f := f.(type) {
				case *vzpb.TransferFile:
					err = r.open(f)
				case *vzpb.TransferData:
					err = r.data(f)
				}
				if err != nil {
					break
				}
			}
			if err == nil {
				t.Error("accepted")
			}
			if _, err := os.Stat(filepath.Join(base, "victim")); err == nil {
				t.Error("written outside")
			}
		})
	}
}

func TestImagesAreNotListedForOthers(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "images")
	if _, err := makeImagesDir(parent, "7"); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(parent)
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", st.Mode(), err)
	}
}

// A journal whose first record is of another attempt is damage, one without a record is no attempt at all.
func TestJournals(t *testing.T) {
	dir := t.TempDir()
	_, a, _ := goodManifest()
	j, _, err := openJournal(JournalPath(dir, "7", RoleSource), Begin{RoleSource, a})
	if err != nil {
		t.Fatal(err)
	}
	j.Close()
	if err := os.WriteFile(JournalPath(dir, "8", RoleTarget), []byte("VZJ"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Journals(dir)
	if err != nil || len(got) != 1 || got[JournalPath(dir, "7", RoleSource)].Attempt.Container.CTID != "101" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := os.Stat(JournalPath(dir, "8", RoleTarget)); err == nil {
		t.Error("the empty one is still there")
	}
	if err := os.Rename(JournalPath(dir, "7", RoleSource), JournalPath(dir, "9", RoleSource)); err != nil {
		t.Fatal(err)
	}
	if _, err := Journals(dir); err == nil || !strings.Contains(err.Error(), "JOURNAL_CORRUPT") {
		t.Errorf("error %v", err)
	}
	if _, _, err := openJournal(JournalPath(dir, "../x", RoleSource), Begin{RoleSource, Attempt{ID: "../x"}}); err == nil {
		t.Error("a hostile id was taken for a file's name")
	}
}
