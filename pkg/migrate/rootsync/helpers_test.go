package rootsync

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/vzcluster/vzcluster/proto/vzpb"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
)

// pipe hands frames to a receiver, through their encoding, as the wire would.
type pipe struct {
	sync.Mutex
	r      *Receiver
	frames int
	bytes  uint64
	onSend func(f *vzpb.TransferFrame) // may change the frame
}

func (p *pipe) Send(f *vzpb.TransferFrame) error {
	raw, err := proto.Marshal(f)
	if err != nil {
		return err
	}
	var got vzpb.TransferFrame
	if err := proto.Unmarshal(raw, &got); err != nil {
		return err
	}
	if p.onSend != nil {
		p.onSend(&got)
	}
	p.frames++
	switch v := got.Part.(type) {
	case *vzpb.TransferFrame_Entry:
		return p.r.Entry(v.Entry)
	case *vzpb.TransferFrame_Data:
		p.bytes += uint64(len(v.Data.Data))
		return p.r.Data(v.Data)
	}
	return fmt.Errorf("frame %T", got.Part)
}

// tb is what testing.TB and rapid.T have in common.
type tb interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Errorf(string, ...any)
}

type pair struct {
	src, dst string
	s        *Sender
	r        *Receiver
	p        *pipe
}

func newPair(t tb, base string) *pair {
	t.Helper()
	p := &pair{src: filepath.Join(base, "src"), dst: filepath.Join(base, "dst")}
	for _, d := range []string{p.src, p.dst} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p.open(t)
	return p
}

func (p *pair) open(t tb) {
	t.Helper()
	var err error
	if p.s, err = NewSender(p.src, nil); err != nil {
		t.Fatal(err)
	}
	if p.r, err = NewReceiver(p.dst, Limits{}); err != nil {
		t.Fatal(err)
	}
	p.p = &pipe{r: p.r}
}

func (p *pair) close() {
	p.s.Close()
	p.r.Close()
}

func (p *pair) round(t tb, final bool, force ...string) Sent {
	t.Helper()
	c, err := p.s.Scan(context.Background(), force)
	if err != nil {
		t.Fatalf("scan: %v", err)
	}
	sent, err := p.s.Send(context.Background(), c, p.p, final)
	if err != nil {
		t.Fatalf("send: %v", err)
	}
	if err := p.r.EndRound(); err != nil {
		t.Fatalf("end of round: %v", err)
	}
	if a, b := p.s.Sum(), p.r.Sum(); a != b {
		t.Fatalf("sums differ: sent %+v, received %+v", a, b)
	}
	return sent
}

// describe lists a tree the plain way, with nothing of the code under test: one line for each entry with all that must be equal.
func describe(t tb, root string) []string {
	t.Helper()
	var out []string
	names := map[uint64][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(path, &st); err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		line := fmt.Sprintf("%q mode=%o uid=%d gid=%d mtime=%d.%09d rdev=%x", rel, st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec, st.Rdev)
		switch st.Mode & syscall.S_IFMT {
		case syscall.S_IFREG:
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum := fmt.Sprintf("%x", bytes.Count(raw, []byte{0}))
			line += fmt.Sprintf(" size=%d zeros=%s content=%x", st.Size, sum, fnv(raw))
			names[st.Ino] = append(names[st.Ino], rel)
		case syscall.S_IFLNK:
			l, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" -> %q", l)
		}
		if st.Mode&syscall.S_IFMT != syscall.S_IFLNK {
			line += xattrText(path)
		}
		out = append(out, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range names {
		if len(group) > 1 {
			sort.Strings(group)
			out = append(out, "links "+strings.Join(group, " = "))
		}
	}
	sort.Strings(out)
	return out
}

func fnv(p []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, b := range p {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return h
}

func xattrText(path string) string {
	buf := make([]byte, 4096)
	n, err := unix.Llistxattr(path, buf)
	if err != nil || n <= 0 {
		return ""
	}
	names := strings.Split(strings.TrimRight(string(buf[:n]), "\x00"), "\x00")
	sort.Strings(names)
	var out strings.Builder
	for _, name := range names {
		v := make([]byte, 65536)
		k, err := unix.Lgetxattr(path, name, v)
		if err == nil {
			fmt.Fprintf(&out, " %s=%x", name, v[:k])
		}
	}
	return out.String()
}

func sameTrees(t tb, p *pair) {
	t.Helper()
	a, b := describe(t, p.src), describe(t, p.dst)
	for i := 0; i < len(a) || i < len(b); i++ {
		switch {
		case i >= len(b):
			t.Fatalf("missing at the target: %s", a[i])
		case i >= len(a):
			t.Fatalf("too much at the target: %s", b[i])
		case a[i] != b[i]:
			t.Fatalf("trees differ\nsource: %s\ntarget: %s", a[i], b[i])
		}
	}
}

func mustWrite(t tb, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func needRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners and device nodes")
	}
}
