package node_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/node"
	"github.com/vzcluster/vzcluster/pkg/node/nodetest"
	"github.com/vzcluster/vzcluster/proto/vzpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// client runs an agent and connects to its server.
func client(t *testing.T, w *world, rt *nodetest.Runtime) (vzpb.NodeClient, *leader) {
	t.Helper()
	l := newLeader(w, "m1:7700")
	w.agent("n1", t.TempDir(), rt, "m1:7700")
	settle()
	conn, err := w.dial("n1:7710")
	if err != nil {
		t.Fatal(err)
	}
	w.wg.Go(func() {
		<-w.ctx.Done()
		conn.Close()
	})
	return vzpb.NewNodeClient(conn), l
}

func code(err error) codes.Code { return status.Code(err) }

func goodTar(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, h := range []*tar.Header{
		{Name: "sbin/", Typeflag: tar.TypeDir, Mode: 0o755, Uid: os.Getuid(), Gid: os.Getgid()},
		{Name: "sbin/init", Typeflag: tar.TypeReg, Mode: 0o755, Size: 3, Uid: os.Getuid(), Gid: os.Getgid()},
	} {
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tw.Write([]byte("#!x")); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPutTemplate(t *testing.T) {
	good := goodTar(t)
	inWorld(t, func(w *world) {
		c, l := client(t, w, nodetest.New("n1", t.TempDir()))
		put := func(content []byte, announced int) (*vzpb.PutTemplateResponse, error) {
			s, err := c.PutTemplate(w.ctx)
			if err != nil {
				t.Fatal(err)
			}
			// Errors of Send are io.EOF: the answer tells.
			_ = s.Send(&vzpb.ImportTemplateRequest{Part: &vzpb.ImportTemplateRequest_Header_{Header: &vzpb.ImportTemplateRequest_Header{Name: "t", Size: uint64(announced)}}})
			_ = s.Send(&vzpb.ImportTemplateRequest{Part: &vzpb.ImportTemplateRequest_Data{Data: content}})
			return s.CloseAndRecv()
		}
		for name, bad := range map[string]struct {
			content   []byte
			announced int
		}{
			"text":      {[]byte(strings.Repeat("no tar at all\n", 100)), 1400},
			"cut off":   {good[:700], 700},
			"too short": {good, len(good) + 1},
			"too long":  {good, len(good) - 1},
			"empty":     {nil, 0},
		} {
			if _, err := put(bad.content, bad.announced); code(err) != codes.InvalidArgument {
				t.Errorf("%s: %v", name, err)
			}
		}
		settle()
		if got := l.last().Templates; len(got) != 0 {
			t.Errorf("kept %v", got)
		}
		r, err := put(good, len(good))
		if err != nil {
			t.Fatal(err)
		}
		settle()
		if got := l.last().Templates; len(got) != 1 || got[0] != r.Digest {
			t.Errorf("reported %v, want %s", got, r.Digest)
		}
		s, err := c.GetTemplate(w.ctx, &vzpb.GetTemplateRequest{Digest: r.Digest})
		if err != nil {
			t.Fatal(err)
		}
		var back []byte
		for {
			chunk, err := s.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			back = append(back, chunk.Data...)
		}
		if !bytes.Equal(back, good) {
			t.Errorf("%d bytes came back, %d were put", len(back), len(good))
		}
		for digest, want := range map[string]codes.Code{"../../etc/passwd": codes.InvalidArgument, strings.Repeat("0", 64): codes.NotFound} {
			s, err := c.GetTemplate(w.ctx, &vzpb.GetTemplateRequest{Digest: digest})
			if err == nil {
				_, err = s.Recv()
			}
			if code(err) != want {
				t.Errorf("digest %s: %v", digest, err)
			}
		}
	})
}

func TestExec(t *testing.T) {
	inWorld(t, func(w *world) {
		rt := nodetest.New("n1", t.TempDir())
		rt.Put(node.Copy{CTID: "101", Epoch: 1, State: cluster.CopyRunning}, "")
		rt.Put(node.Copy{CTID: "102", Epoch: 1, State: cluster.CopyStopped}, "")
		rt.OnExec(func(_ string, e node.ExecSpec) (int, error) {
			in, err := io.ReadAll(e.Stdin)
			if err != nil {
				return 0, err
			}
			if size := <-e.Resize; size != [2]uint16{24, 80} {
				t.Errorf("size %v", size)
			}
			if s := <-e.Signal; s != 15 {
				t.Errorf("signal %d", s)
			}
			_, _ = e.Stdout.Write(bytes.ToUpper(in))
			_, _ = e.Stderr.Write([]byte("warning"))
			return 130, nil
		})
		c, l := client(t, w, rt)
		run := func(name string) (out, errOut string, exit int32, err error) {
			s, err := c.Exec(w.ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range []*vzpb.ExecRequest{
				{Part: &vzpb.ExecRequest_Start_{Start: &vzpb.ExecRequest_Start{Name: name, Argv: []string{"x"}, Size: &vzpb.ExecRequest_Resize{Rows: 24, Cols: 80}}}},
				{Part: &vzpb.ExecRequest_Stdin{Stdin: []byte("hello")}},
				{Part: &vzpb.ExecRequest_StdinEof{StdinEof: true}},
				{Part: &vzpb.ExecRequest_Signal{Signal: 15}},
			} {
				_ = s.Send(m) // the answer tells
			}
			for {
				m, err := s.Recv()
				if errors.Is(err, io.EOF) {
					return out, errOut, exit, nil
				}
				if err != nil {
					return out, errOut, exit, err
				}
				switch p := m.Part.(type) {
				case *vzpb.ExecResponse_Stdout:
					out += string(p.Stdout)
				case *vzpb.ExecResponse_Stderr:
					errOut += string(p.Stderr)
				case *vzpb.ExecResponse_ExitCode:
					exit = p.ExitCode
				}
			}
		}
		out, errOut, exit, err := run("101")
		if out != "HELLO" || errOut != "warning" || exit != 130 || err != nil {
			t.Errorf("%q, %q, %d, %v", out, errOut, exit, err)
		}
		for name, want := range map[string]codes.Code{"102": codes.FailedPrecondition, "103": codes.NotFound, "../x": codes.InvalidArgument} {
			if _, _, _, err := run(name); code(err) != want {
				t.Errorf("exec in %s: %v", name, err)
			}
		}
		settle()
		if got := copyOf(l.last(), "101"); got.ExecSessions != 0 {
			t.Errorf("%d sessions are left", got.ExecSessions)
		}
	})
}

// A stream for an attempt that this node does not expect is turned away.
func TestTransferOfUnknownAttempt(t *testing.T) {
	inWorld(t, func(w *world) {
		c, _ := client(t, w, nodetest.New("n1", t.TempDir()))
		s, err := c.Transfer(w.ctx)
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Send(&vzpb.TransferFrame{Part: &vzpb.TransferFrame_Open{Open: &vzpb.TransferOpen{Migration: "5"}}})
		if _, err := s.Recv(); code(err) != codes.NotFound {
			t.Errorf("answer: %v", err)
		}
	})
}
