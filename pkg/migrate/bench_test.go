package migrate

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/rpc"
	"github.com/vzcluster/vzcluster/proto/vzpb"
	"google.golang.org/grpc"
)

type sink struct {
	vzpb.UnimplementedNodeServer
	dir  string
	done chan struct{}
}

func (s *sink) Transfer(stream grpc.BidiStreamingServer[vzpb.TransferFrame, vzpb.TransferReply]) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	if err := stream.Send(&vzpb.TransferReply{Part: &vzpb.TransferReply_Opened{Opened: &vzpb.TransferOpened{Version: 1}}}); err != nil {
		return err
	}
	for {
		r, err := newFileReceiver(s.dir, s.dir, 1<<40)
		if err != nil {
			return err
		}
		for {
			f, err := stream.Recv()
			if err != nil {
				r.close()
				return err
			}
			switch p := f.Part.(type) {
			case *vzpb.TransferFrame_File:
				if err := r.open(p.File); err != nil {
					return err
				}
			case *vzpb.TransferFrame_Data:
				if err := r.data(p.Data); err != nil {
					return err
				}
				if p.Data.End {
					os.Remove(filepath.Join(s.dir, r.files[0].Name))
					r.close()
					s.done <- struct{}{}
				}
				continue
			}
			if r.f == nil {
				break
			}
		}
	}
}

// BenchmarkShip measures how fast image files get from one tmpfs to the other: reading, hashing, gRPC over loopback, hashing, writing.
func BenchmarkShip(b *testing.B) {
	const size = 256 << 20
	dir, err := os.MkdirTemp("/dev/shm", "ship")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	for _, d := range []string{in, out} {
		if err := os.Mkdir(d, 0o700); err != nil {
			b.Fatal(err)
		}
	}
	content := make([]byte, size)
	for i := range content {
		content[i] = byte(i * 7 >> 3)
	}
	if err := os.WriteFile(filepath.Join(in, "pages-1.img"), content, 0o600); err != nil {
		b.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := &sink{dir: out, done: make(chan struct{}, 1)}
	srv := rpc.NewServer(TransferServerOptions()...)
	vzpb.RegisterNodeServer(srv, s)
	go func() { _ = srv.Serve(lis) }()
	defer srv.Stop()
	a := Assignment{Migration: cluster.Migration{ID: "1"}, Peer: lis.Addr().String()}
	b.SetBytes(size)
	for b.Loop() {
		o, err := openStream(context.Background(), func(addr string) (*grpc.ClientConn, error) { return rpc.Dial(addr, TransferOptions()...) }, a)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := sendImages(context.Background(), o, in, nil); err != nil {
			b.Fatal(err)
		}
		<-s.done
		o.close()
	}
}
