package migrate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/pkg/migrate/rootsync"
	"github.com/vzcluster/vzcluster/proto/vzpb"
	"golang.org/x/sync/errgroup"
)

// freshRound: when the switch comes later than this after the last running round, one more is made before the freeze.
const freshRound = time.Second

// copy sends rounds while the container runs. A broken connection is made anew, and then everything is sent again: the container has not
// noticed anything yet.
func (s *Source) copy(ctx context.Context, a Assignment) error {
	defer s.watch.begin(StageCopy)()
	if err := s.copyRounds(ctx, a); err != nil {
		return err
	}
	s.set(func(st *Status) { st.Step = string(cluster.SourceCopied) })
	return nil
}

func (s *Source) copyRounds(ctx context.Context, a Assignment) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := s.connect(ctx, a)
		for err == nil && !Enough(s.rounds) {
			err = s.round(ctx)
		}
		if err == nil || ctx.Err() != nil || !errors.Is(err, errStream) {
			return err
		}
		s.log.Warn("copy is started again", "err", err)
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// connect makes a stream to the target, unless there is a good one.
func (s *Source) connect(ctx context.Context, a Assignment) error {
	if s.out != nil && s.out.broken() == nil {
		return nil
	}
	s.disconnect()
	// The stream lives as long as the runner, not as long as the phase.
	out, err := openStream(context.WithoutCancel(ctx), s.cfg.Dial, a)
	if err != nil {
		return err
	}
	s.sent.Store(0)
	tree, err := rootsync.NewSender(s.cfg.Engine.Root(s.attempt), func(n uint64) { s.sent.Add(n) })
	if err != nil {
		out.close()
		return err
	}
	s.out, s.tree, s.rounds, s.number, s.mapped = out, tree, nil, 0, nil
	s.stats = cluster.MigrationStats{}
	return nil
}

// guard cuts the stream when ctx ends: a verdict must not wait for a target that does not read. The returned function lifts it.
func (s *Source) guard(ctx context.Context) (lift func() bool) {
	return context.AfterFunc(ctx, s.out.cancel)
}

// round makes one running round and waits until it is on the target's disk.
func (s *Source) round(ctx context.Context) error {
	defer s.guard(ctx)()
	start := time.Now()
	// A file that is mapped now can change without a trace until the next round: that one must compare it again, even if it is not mapped
	// any more by then.
	mapped, err := s.cfg.Engine.MappedFiles(ctx, s.attempt)
	if err != nil {
		return fmt.Errorf("mapped files: %w", err)
	}
	changes, err := s.tree.Scan(ctx, append(mapped, s.mapped...))
	if err != nil {
		return err
	}
	s.sent.Store(0)
	s.total.Store(changes.Bytes)
	sent, err := s.sendRound(ctx, changes, false)
	if err != nil {
		return err
	}
	if err := s.out.roundDone(ctx, s.number); err != nil {
		return err
	}
	s.mapped, s.lastTree = mapped, start
	s.rounds = append(s.rounds, Round{Files: sent.Files, Bytes: sent.Bytes, Took: time.Since(start)})
	s.log.Info("round", "number", s.number, "entries", sent.Files, "bytes", sent.Bytes, "took", time.Since(start))
	return nil
}

func (s *Source) sendRound(ctx context.Context, changes *rootsync.Changes, final bool) (rootsync.Sent, error) {
	s.number++
	s.stats.Rounds = int(s.number)
	frame := func(f *vzpb.TransferFrame) error {
		s.out.Lock()
		defer s.out.Unlock()
		return s.out.Send(f)
	}
	err := frame(&vzpb.TransferFrame{Part: &vzpb.TransferFrame_Round{Round: &vzpb.TransferRound{Number: s.number, Final: final}}})
	if err != nil {
		return rootsync.Sent{}, err
	}
	sent, err := s.tree.Send(ctx, changes, s.out, final)
	if err != nil {
		return sent, err
	}
	s.stats.RootfsBytes += sent.Bytes
	s.stats.RootfsFiles += sent.Files
	end := &vzpb.TransferRoundEnd{Files: sent.Files, Bytes: sent.Bytes}
	return sent, frame(&vzpb.TransferFrame{Part: &vzpb.TransferFrame_RoundEnd{RoundEnd: end}})
}

// switchOver freezes, dumps, ships, and votes.
func (s *Source) switchOver(ctx context.Context, a Assignment) error {
	if err := s.arm(ctx, a); err != nil {
		return err
	}
	dir, err := makeImagesDir(s.cfg.ImagesDir, s.attempt.ID)
	if err != nil {
		return err
	}
	// Nothing is frozen without a fresh answer of the masters: with no quorum the container would stay frozen.
	if err := s.cfg.WaitLease(ctx); err != nil {
		return err
	}
	if err := s.append(stepFreezing, nil); err != nil {
		return err
	}
	s.frozen = time.Now()
	end := s.watch.begin(StageFreeze)
	if err := s.cfg.Engine.Freeze(ctx, s.attempt); err != nil {
		return fmt.Errorf("freeze: %w", err)
	}
	end()
	if err := s.dump(ctx, dir); err != nil {
		return err
	}
	digest, err := s.ship(ctx, dir)
	if err != nil {
		return err
	}
	// The target is restoring by now; the journal is not in its way.
	if err := s.append(stepShipped, voteRecord{Digest: digest}); err != nil {
		return err
	}
	stats := s.stats
	s.set(func(st *Status) { st.Step, st.Digest, st.Stats = string(cluster.SourceShipped), digest, &stats })
	return nil
}

// arm makes everything ready for the freeze, and the copy fresh if it is not.
func (s *Source) arm(ctx context.Context, a Assignment) error {
	defer s.watch.begin(StageArm)()
	// Still running: a broken connection costs only time.
	if s.out == nil || s.out.broken() != nil {
		if err := s.copyRounds(ctx, a); err != nil {
			return err
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if time.Since(s.lastTree) < freshRound {
			return nil
		}
		return s.round(gctx)
	})
	g.Go(func() error { return s.cfg.Engine.Arm(gctx, s.attempt) })
	if err := g.Wait(); err != nil {
		return err
	}
	return s.cfg.Quiesce()
}

// dump writes the images, and beside that sends what has changed in the root since the last round.
func (s *Source) dump(ctx context.Context, dir string) error {
	defer s.guard(ctx)()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer s.watch.begin(StageDump)()
		if err := s.cfg.Engine.Dump(gctx, s.attempt, dir); err != nil {
			return fmt.Errorf("dump: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		defer s.watch.begin(StageFinal)()
		mapped, err := s.cfg.Engine.MappedFiles(gctx, s.attempt)
		if err != nil {
			return fmt.Errorf("mapped files: %w", err)
		}
		changes, err := s.tree.Scan(gctx, append(mapped, s.mapped...))
		if err != nil {
			return err
		}
		sent, err := s.sendRound(gctx, changes, true)
		s.stats.FinalBytes = sent.Bytes
		return s.failStream(err)
	})
	return g.Wait()
}

// ship sends the images, the console's log and the manifest.
func (s *Source) ship(ctx context.Context, dir string) (string, error) {
	defer s.guard(ctx)()
	defer s.watch.begin(StageShip)()
	files, err := sendImages(ctx, s.out, dir, s.cfg.Faults)
	if err != nil {
		return "", s.failStream(err)
	}
	for _, f := range files {
		s.stats.ImageBytes += f.Size
	}
	if log := s.cfg.Engine.ConsoleLog(s.attempt); log != "" {
		f, err := sendFile(ctx, s.out, filepath.Clean(log), SetConsole, consoleLog, maxConsole, nil)
		switch {
		case err == nil:
			files = append(files, f)
		case !errors.Is(err, os.ErrNotExist):
			return "", s.failStream(err)
		}
	}
	m := Manifest{
		Version: manifestVersion, Migration: s.attempt.ID, CTID: s.attempt.Container.CTID, Epoch: s.attempt.Epoch,
		Source: s.attempt.Container.Node, Target: s.target(), Rootfs: s.tree.Sum(), Files: files,
	}
	body, digest, err := m.Encode()
	if err != nil {
		return "", err
	}
	s.out.Lock()
	defer s.out.Unlock()
	err = s.out.Send(&vzpb.TransferFrame{Part: &vzpb.TransferFrame_Manifest{Manifest: &vzpb.TransferManifest{Body: body}}})
	return digest, s.failStream(err)
}

func (s *Source) target() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest.Migration.Target
}
