package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// importChunk is the size of one message of data.
const importChunk = 256 << 10

func (a *app) templateImportCommand() *cobra.Command {
	var o order
	cmd := &cobra.Command{
		Use:   "import NAME FILE",
		Short: "make a template of a tar with a root file system",
		Args:  operands("NAME", "FILE"),
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			if err := cluster.ValidateTemplateName(args[0]); err != nil {
				return usage(err)
			}
			return a.templateImport(cmd.Context(), &o, args[0], args[1])
		}),
	}
	o.register(cmd.Flags())
	return cmd
}

func (a *app) templateImport(ctx context.Context, o *order, name, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return cli.Errorf(cli.Usage, "%v", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	if !st.Mode().IsRegular() {
		return cli.Errorf(cli.Usage, "%s is not a regular file", file)
	}
	c, err := a.cluster()
	if err != nil {
		return err
	}
	var resp *vzpb.TemplateResponse
	err = c.Upload(ctx, a.window(mutateTimeout), o.key(), func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) (err error) {
		resp, err = a.upload(ctx, stub, opts, &vzpb.ImportTemplateRequest_Header{OpKey: o.key(), Name: name, Size: uint64(st.Size())}, f)
		return err
	})
	if err != nil {
		return err
	}
	d := templateDoc{Op: o.key()}
	if err := decode(resp.GetJson(), &d.Template); err != nil {
		return err
	}
	return a.result(d, "template %s was imported: %s, digest %s", d.Name, cli.HumanSize(d.Size), d.Digest)
}

// upload sends the whole file to one master.
func (a *app) upload(ctx context.Context, stub vzpb.ClusterClient, opts []grpc.CallOption, h *vzpb.ImportTemplateRequest_Header, f *os.File) (*vzpb.TemplateResponse, error) {
	ctx, cancel := context.WithCancel(ctx) // ends the stream if the file can't be read to its end
	defer cancel()
	st, err := stub.ImportTemplate(ctx, opts...)
	if err != nil {
		return nil, err
	}
	err = st.Send(&vzpb.ImportTemplateRequest{Part: &vzpb.ImportTemplateRequest_Header_{Header: h}})
	r, done := a.uploadBar(io.NewSectionReader(f, 0, int64(h.Size)), int64(h.Size))
	buf := make([]byte, importChunk)
	for err == nil {
		var n int
		n, err = io.ReadFull(r, buf)
		if n > 0 {
			if e := st.Send(&vzpb.ImportTemplateRequest{Part: &vzpb.ImportTemplateRequest_Data{Data: buf[:n]}}); e != nil {
				err = e
			}
		}
	}
	done()
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, cli.Errorf(cli.Internal, "read template: %v", err)
	}
	return st.CloseAndRecv() // also when the master ended the stream early: then it says why
}

// uploadBar shows on a terminal how much of r was read.
func (a *app) uploadBar(r io.Reader, size int64) (io.Reader, func()) {
	if !isTerminal(a.err) || size == 0 {
		return r, func() {}
	}
	p := mpb.New(mpb.WithOutput(a.err), mpb.WithWidth(40), mpb.WithRefreshRate(150*time.Millisecond))
	b := p.AddBar(size,
		mpb.PrependDecorators(decor.CountersKibiByte("% .1f / % .1f ")),
		mpb.AppendDecorators(decor.AverageSpeed(decor.SizeB1024(0), " % .1f"), decor.AverageETA(decor.ET_STYLE_GO, decor.WCSyncSpace)))
	pr, err := b.ProxyReader(r)
	if err != nil {
		pr = io.NopCloser(r)
	}
	return pr, func() { b.Abort(false); p.Wait() }
}
