package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/rpc"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// fake is a master with scripted answers.
type fake struct {
	vzpb.UnimplementedClusterServer
	addr string
	// answer has for each unary method (and ImportTemplate) what to answer: it gets the request and returns the response.
	answer map[string]func(proto.Message) (proto.Message, error)
	// watch is what a watch sends: a record, or an error to end with. At its end the watch stays open. A second watch goes on where the
	// first one ended.
	watch []any
	// snapshot is what SaveSnapshot sends.
	snapshot []byte
	exec     func(grpc.BidiStreamingServer[vzpb.ExecRequest, vzpb.ExecResponse]) error

	mu       sync.Mutex
	requests []proto.Message
	watching chan struct{} // closed when a watch has sent everything
	once     sync.Once
}

func newFake(t *testing.T) *fake {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{addr: lis.Addr().String(), answer: map[string]func(proto.Message) (proto.Message, error){}, watching: make(chan struct{})}
	srv := rpc.NewServer()
	vzpb.RegisterClusterServer(srv, f)
	go func() { _ = srv.Serve(lis) }() // ends with Stop
	t.Cleanup(srv.Stop)
	return f
}

// says scripts one answer for a method: a response, or an error.
func (f *fake) says(method string, resp proto.Message, err error) *fake {
	f.answer[method] = func(proto.Message) (proto.Message, error) { return resp, err }
	return f
}

// script says what the next watches send.
func (f *fake) script(steps ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watch = steps
}

// ask remembers the request and gives the scripted answer.
func ask[T proto.Message](f *fake, method string, req proto.Message) (T, error) {
	var none T
	f.mu.Lock()
	f.requests = append(f.requests, proto.Clone(req))
	fn := f.answer[method]
	f.mu.Unlock()
	if fn == nil {
		return none, status.Errorf(codes.Unimplemented, "the fake has no answer to %s", method)
	}
	resp, err := fn(req)
	if err != nil {
		return none, err
	}
	return resp.(T), nil
}

// last returns the last request of a type, and how many there were.
func last[T proto.Message](f *fake) (req T, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.requests {
		if r, ok := r.(T); ok {
			req, n = r, n+1
		}
	}
	return req, n
}

func (f *fake) Status(_ context.Context, r *vzpb.StatusRequest) (*vzpb.StatusResponse, error) {
	return ask[*vzpb.StatusResponse](f, "Status", r)
}
func (f *fake) ListNodes(_ context.Context, r *vzpb.ListNodesRequest) (*vzpb.ListNodesResponse, error) {
	return ask[*vzpb.ListNodesResponse](f, "ListNodes", r)
}
func (f *fake) CordonNode(_ context.Context, r *vzpb.CordonNodeRequest) (*vzpb.NodeResponse, error) {
	return ask[*vzpb.NodeResponse](f, "CordonNode", r)
}
func (f *fake) ListTemplates(_ context.Context, r *vzpb.ListTemplatesRequest) (*vzpb.ListTemplatesResponse, error) {
	return ask[*vzpb.ListTemplatesResponse](f, "ListTemplates", r)
}
func (f *fake) CreateContainer(_ context.Context, r *vzpb.CreateContainerRequest) (*vzpb.ContainerResponse, error) {
	return ask[*vzpb.ContainerResponse](f, "CreateContainer", r)
}
func (f *fake) ListContainers(_ context.Context, r *vzpb.ListContainersRequest) (*vzpb.ListContainersResponse, error) {
	return ask[*vzpb.ListContainersResponse](f, "ListContainers", r)
}
func (f *fake) SetContainer(_ context.Context, r *vzpb.SetContainerRequest) (*vzpb.ContainerResponse, error) {
	return ask[*vzpb.ContainerResponse](f, "SetContainer", r)
}
func (f *fake) StartContainer(_ context.Context, r *vzpb.ContainerOpRequest) (*vzpb.ContainerResponse, error) {
	return ask[*vzpb.ContainerResponse](f, "StartContainer", r)
}
func (f *fake) StopContainer(_ context.Context, r *vzpb.ContainerOpRequest) (*vzpb.ContainerResponse, error) {
	return ask[*vzpb.ContainerResponse](f, "StopContainer", r)
}
func (f *fake) DestroyContainer(_ context.Context, r *vzpb.ContainerOpRequest) (*vzpb.ContainerResponse, error) {
	return ask[*vzpb.ContainerResponse](f, "DestroyContainer", r)
}
func (f *fake) ConsoleLog(_ context.Context, r *vzpb.ConsoleLogRequest) (*vzpb.ConsoleLogResponse, error) {
	return ask[*vzpb.ConsoleLogResponse](f, "ConsoleLog", r)
}
func (f *fake) Migrate(_ context.Context, r *vzpb.MigrateRequest) (*vzpb.MigrationResponse, error) {
	return ask[*vzpb.MigrationResponse](f, "Migrate", r)
}
func (f *fake) ListMigrations(_ context.Context, r *vzpb.ListMigrationsRequest) (*vzpb.ListMigrationsResponse, error) {
	return ask[*vzpb.ListMigrationsResponse](f, "ListMigrations", r)
}
func (f *fake) GetOperation(_ context.Context, r *vzpb.GetOperationRequest) (*vzpb.GetOperationResponse, error) {
	return ask[*vzpb.GetOperationResponse](f, "GetOperation", r)
}

func (f *fake) ImportTemplate(s grpc.ClientStreamingServer[vzpb.ImportTemplateRequest, vzpb.TemplateResponse]) error {
	var data []byte
	var header *vzpb.ImportTemplateRequest_Header
	for {
		r, err := s.Recv()
		if err != nil {
			break
		}
		if h := r.GetHeader(); h != nil {
			header = h
		}
		data = append(data, r.GetData()...)
	}
	resp, err := ask[*vzpb.TemplateResponse](f, "ImportTemplate", &vzpb.ImportTemplateRequest{Part: &vzpb.ImportTemplateRequest_Header_{Header: header}})
	if err != nil {
		return err
	}
	if uint64(len(data)) != header.Size {
		return status.Errorf(codes.Internal, "%d bytes came, %d were promised", len(data), header.Size)
	}
	return s.SendAndClose(resp)
}

func (f *fake) WatchContainer(r *vzpb.WatchContainerRequest, s grpc.ServerStreamingServer[vzpb.ContainerResponse]) error {
	return play(f, r, s, func(c any) *vzpb.ContainerResponse { return containerResp(c.(cluster.Container)) })
}

func (f *fake) WatchMigration(r *vzpb.WatchMigrationRequest, s grpc.ServerStreamingServer[vzpb.MigrationResponse]) error {
	return play(f, r, s, func(m any) *vzpb.MigrationResponse {
		if r, ok := m.(*vzpb.MigrationResponse); ok {
			return r
		}
		return migrationResp(m.(cluster.Migration))
	})
}

// play sends what is left of the script.
func play[T any](f *fake, req proto.Message, s grpc.ServerStreamingServer[T], conv func(any) *T) error {
	f.mu.Lock()
	f.requests = append(f.requests, proto.Clone(req))
	f.mu.Unlock()
	for {
		f.mu.Lock()
		var next any
		if len(f.watch) > 0 {
			next, f.watch = f.watch[0], f.watch[1:]
		}
		f.mu.Unlock()
		switch next := next.(type) {
		case nil:
			f.once.Do(func() { close(f.watching) })
			<-s.Context().Done()
			return s.Context().Err()
		case rest:
			<-s.Context().Done()
			return s.Context().Err()
		case error:
			return next
		default:
			if err := s.Send(conv(next)); err != nil {
				return err
			}
		}
	}
}

func (f *fake) Exec(s grpc.BidiStreamingServer[vzpb.ExecRequest, vzpb.ExecResponse]) error {
	return f.exec(s)
}

// rest marks in a script where a watch has no more to say; the next watch goes on behind it.
type rest struct{}

// result is how a command ended.
type result struct {
	code     int
	out, err string
}

// run runs a command line against the fake.
func (f *fake) run(t *testing.T, args ...string) result {
	t.Helper()
	return runApp(t, t.Context(), []string{f.addr}, args...)
}

func runApp(t *testing.T, ctx context.Context, masters []string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	a := testApp(t, masters)
	a.out, a.err = &out, &errs
	code := a.run(ctx, args)
	return result{code, out.String(), errs.String()}
}

func testApp(t *testing.T, masters []string) *app {
	return &app{
		in: strings.NewReader(""), out: &bytes.Buffer{}, err: &bytes.Buffer{}, conf: filepath.Join(t.TempDir(), "none"),
		env:  func(k string) string { return map[string]string{"VZ_MASTERS": strings.Join(masters, ",")}[k] },
		dial: func(a string) (*grpc.ClientConn, error) { return rpc.Dial(a) },
	}
}

// fails checks exit code and the one line of an error.
func (r result) fails(t *testing.T, code int, name string, words ...string) {
	t.Helper()
	want := "error: " + name + ": "
	if r.code != code || !strings.HasPrefix(r.err, want) || strings.Count(r.err, "\n") != 1 || !strings.HasSuffix(r.err, "\n") {
		t.Errorf("exit %d, stderr %q; want exit %d and one line %q", r.code, r.err, code, want)
	}
	for _, w := range words {
		if !strings.Contains(r.err, w) {
			t.Errorf("stderr %q lacks %q", r.err, w)
		}
	}
}

// ok checks that the command was done without a message.
func (r result) ok(t *testing.T) result {
	t.Helper()
	if r.code != 0 || r.err != "" {
		t.Errorf("exit %d, stderr %q, stdout %q", r.code, r.err, r.out)
	}
	return r
}

// doc reads the one JSON document on stdout.
func (r result) doc(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	r.into(t, &m)
	return m
}

func (r result) into(t *testing.T, v any) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(r.out))
	if err := dec.Decode(v); err != nil {
		t.Fatalf("stdout is no JSON document: %v\n%s", err, r.out)
	}
	var more any
	if err := dec.Decode(&more); err == nil || !errors.Is(err, io.EOF) {
		t.Errorf("more than one document on stdout:\n%s", r.out)
	}
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func containerResp(c cluster.Container) *vzpb.ContainerResponse {
	return &vzpb.ContainerResponse{Json: mustJSON(c)}
}

func migrationResp(m cluster.Migration) *vzpb.MigrationResponse {
	return &vzpb.MigrationResponse{Json: mustJSON(m)}
}

// has answers ListContainers from records, as a master does: by name or CTID, or all.
func (f *fake) has(cs ...cluster.Container) *fake {
	f.answer["ListContainers"] = func(req proto.Message) (proto.Message, error) {
		name := req.(*vzpb.ListContainersRequest).Name
		resp := &vzpb.ListContainersResponse{}
		for _, c := range cs {
			if name == "" || name == c.CTID || name == c.Name {
				r := containerResp(c)
				if c.State == cluster.ContainerRunning {
					r.UsageJson = mustJSON(cluster.Usage{Pids: 7, MemoryBytes: 3 << 20})
				}
				resp.Containers = append(resp.Containers, r)
			}
		}
		if name != "" && len(resp.Containers) == 0 {
			return nil, status.Errorf(codes.NotFound, "no container %q", name)
		}
		return resp, nil
	}
	return f
}

// web is a container for tests.
func web(change ...func(*cluster.Container)) cluster.Container {
	c := cluster.Container{
		CTID: "101", Name: "web", Node: "n1", Epoch: 1, RunGen: 5, Want: cluster.WantRunning, State: cluster.ContainerRunning,
		Spec: cluster.Spec{Template: "debian", Hostname: "web.example", Resources: cluster.Resources{CPUMilli: 1500, MemoryBytes: 512 << 20, DiskBytes: 2 << 30},
			Net: cluster.Network{Addresses: []string{"10.0.0.5/24", "10.0.0.6/24"}}},
		Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Changed: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC),
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

func in(s cluster.ContainerState) func(*cluster.Container) {
	return func(c *cluster.Container) {
		c.State = s
		c.Want = cluster.WantStopped
		if s == cluster.ContainerRunning {
			c.Want = cluster.WantRunning
		}
	}
}

func wants(w cluster.RunState, gen uint64) func(*cluster.Container) {
	return func(c *cluster.Container) { c.Want, c.RunGen = w, gen }
}

func splitLines(s string) []string {
	return slices.DeleteFunc(strings.Split(s, "\n"), func(l string) bool { return l == "" })
}
