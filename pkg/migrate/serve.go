package migrate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate/rootsync"
	"github.com/vzcluster/vzcluster/proto/vzpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// serving is the one stream that an attempt has at a time. A new one takes the place of the old one, which the source has given up.
type serving struct {
	mu      sync.Mutex
	cancel  context.CancelFunc
	done    chan struct{}
	closed  bool // no more: everything is here, or the attempt is over
	replies chan *vzpb.TransferReply
}

func (t *Target) reply(r *vzpb.TransferReply) {
	select {
	case t.serve.replies <- r:
	default: // nobody serves any more; replies decide nothing
	}
}

// stopServing ends the stream and takes no other.
func (t *Target) stopServing() {
	t.serve.mu.Lock()
	cancel, done := t.serve.cancel, t.serve.done
	t.serve.closed = true
	t.serve.mu.Unlock()
	if cancel != nil {
		cancel()
		<-done
	}
}

// Serve takes the source's stream, whose first frame was open. It returns when the stream ends or the attempt is over here.
func (t *Target) Serve(stream grpc.BidiStreamingServer[vzpb.TransferFrame, vzpb.TransferReply], open *vzpb.TransferOpen) error {
	if err := t.admit(open); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	t.serve.mu.Lock()
	for t.serve.cancel != nil && !t.serve.closed {
		old := t.serve.done
		t.serve.cancel()
		t.serve.mu.Unlock()
		<-old
		t.serve.mu.Lock()
		if t.serve.done == old {
			t.serve.cancel = nil
		}
	}
	if t.serve.closed {
		t.serve.mu.Unlock()
		return status.Error(codes.FailedPrecondition, "the transfer of this attempt is complete or over")
	}
	t.serve.cancel, t.serve.done = cancel, done
	t.serve.mu.Unlock()
	select {
	case <-t.ready:
	case <-ctx.Done():
		return ctx.Err()
	case <-t.over:
		return status.Error(codes.FailedPrecondition, "the attempt is over")
	}
	r := &receiving{t: t, ctx: ctx, stream: stream}
	err := r.run()
	if r.tree != nil && !r.complete {
		r.tree.Close()
	}
	if err == nil {
		return r.answer()
	}
	if ctx.Err() != nil || errors.Is(err, errStream) {
		return status.Error(codes.Canceled, "the stream ended")
	}
	t.fail(err)
	_ = stream.Send(&vzpb.TransferReply{Part: &vzpb.TransferReply_Failed{Failed: &vzpb.TransferFailed{Reason: err.Error()}}})
	return status.Error(codes.Aborted, err.Error())
}

// admit checks that the stream is the one that the record names: attempt, epoch and both nodes (R4, R5).
func (t *Target) admit(o *vzpb.TransferOpen) error {
	a := t.attempt
	if o.Migration != a.ID || o.Ctid != a.Container.CTID || cluster.Epoch(o.Epoch) != a.Epoch {
		return status.Errorf(codes.FailedPrecondition, "STALE_EPOCH: this node expects migration %s of container %s at epoch %d", a.ID, a.Container.CTID, a.Epoch)
	}
	if o.Source != a.Container.Node || o.Target != t.cfg.Node {
		return status.Errorf(codes.PermissionDenied, "migration %s is not from %q to %q", a.ID, o.Source, o.Target)
	}
	if !slices.Contains(o.Versions, vzpb.TransferVersion_TRANSFER_VERSION_1) {
		return status.Error(codes.Unimplemented, "no common version of the transfer protocol")
	}
	if t.Phase().Decided() {
		return status.Error(codes.FailedPrecondition, "the attempt has been decided")
	}
	return nil
}

// receiving is one stream.
type receiving struct {
	t        *Target
	ctx      context.Context
	stream   grpc.BidiStreamingServer[vzpb.TransferFrame, vzpb.TransferReply]
	tree     *rootsync.Receiver
	files    *fileReceiver
	round    *vzpb.TransferRound
	inFile   bool // data frames belong to an image file
	complete bool
}

func (r *receiving) send(reply *vzpb.TransferReply) error {
	if err := r.stream.Send(reply); err != nil {
		return fmt.Errorf("%w: %w", errStream, err)
	}
	return nil
}

func (r *receiving) run() error {
	t := r.t
	rootLimit, imageLimit := t.limits()
	var err error
	if r.tree, err = rootsync.NewReceiver(t.root, rootLimit); err != nil {
		return err
	}
	if _, err := makeImagesDir(t.cfg.ImagesDir, t.attempt.ID); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(t.consoleDir()), os.Mkdir(t.consoleDir(), 0o700)); err != nil {
		return err
	}
	if r.files, err = newFileReceiver(t.images(), t.consoleDir(), imageLimit); err != nil {
		return err
	}
	defer r.files.close()
	opened := &vzpb.TransferOpened{Version: vzpb.TransferVersion_TRANSFER_VERSION_1}
	if err := r.send(&vzpb.TransferReply{Part: &vzpb.TransferReply_Opened{Opened: opened}}); err != nil {
		return err
	}
	for !r.complete {
		f, err := r.stream.Recv()
		if err != nil {
			return fmt.Errorf("%w: %w", errStream, err)
		}
		if err := r.frame(f); err != nil {
			return err
		}
	}
	return nil
}

func (r *receiving) frame(f *vzpb.TransferFrame) error {
	switch p := f.Part.(type) {
	case *vzpb.TransferFrame_Round:
		if r.round != nil {
			return errors.New("a round within a round")
		}
		r.round = p.Round
		return nil
	case *vzpb.TransferFrame_Entry:
		if r.round == nil || r.files.f != nil {
			return errors.New("an entry outside of a round, or within a file")
		}
		r.inFile = false
		return r.tree.Entry(p.Entry)
	case *vzpb.TransferFrame_File:
		r.inFile = true
		return r.files.open(p.File)
	case *vzpb.TransferFrame_Data:
		if !r.inFile {
			return r.tree.Data(p.Data)
		}
		if r.files.f == nil {
			return errors.New("data without a file")
		}
		return r.files.data(p.Data)
	case *vzpb.TransferFrame_RoundEnd:
		return r.roundEnd()
	case *vzpb.TransferFrame_Manifest:
		return r.manifest(p.Manifest.Body)
	}
	return fmt.Errorf("unexpected frame %T", f.Part)
}

// roundEnd makes a running round durable now, while the container runs; the last one is made durable beside the restore.
func (r *receiving) roundEnd() error {
	round := r.round
	if round == nil {
		return errors.New("the end of no round")
	}
	r.round = nil
	if err := r.tree.EndRound(); err != nil {
		return err
	}
	if round.Final {
		return nil
	}
	if err := r.tree.Sync(); err != nil {
		return err
	}
	select {
	case r.t.round <- struct{}{}:
	default:
	}
	done := &vzpb.TransferRoundDone{Number: round.Number, Bytes: r.tree.Sum().Bytes}
	return r.send(&vzpb.TransferReply{Part: &vzpb.TransferReply_RoundDone{RoundDone: done}})
}

// manifest verifies everything and hands it over. CRIU restores damaged images without a word: this is the only check there is.
func (r *receiving) manifest(body []byte) error {
	t := r.t
	end := t.watch.begin(StageVerify)
	if r.round != nil || r.files.f != nil {
		return errors.New("the manifest came before the end of what it names")
	}
	m, err := DecodeManifest(body)
	if err != nil {
		return err
	}
	if err := m.verify(t.attempt, t.cfg.Node, r.tree.Sum(), r.files.files); err != nil {
		return err
	}
	end()
	t.serve.mu.Lock()
	t.serve.closed = true
	t.serve.mu.Unlock()
	r.complete = true
	t.staged <- &staging{body: body, tree: r.tree}
	return nil
}

// answer sends what becomes of the attempt, as long as the source listens.
func (r *receiving) answer() error {
	t := r.t
	for {
		select {
		case reply := <-t.serve.replies:
			if err := r.send(reply); err != nil {
				return nil // it learns it from the masters
			}
		case <-r.ctx.Done():
			return nil
		case <-t.over:
			select {
			case reply := <-t.serve.replies:
				_ = r.send(reply)
				continue
			default:
				return nil
			}
		}
	}
}
