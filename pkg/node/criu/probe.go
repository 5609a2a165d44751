package criu

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/checkpoint-restore/go-criu/v7/rpc"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
)

// MinVersion is the oldest CRIU that dumps TCP sockets on kernels from 6.16 on, as major*10000 + minor*100 + sublevel.
const MinVersion = 40200

// Info is what a CRIU says of itself.
type Info struct {
	Version string // "4.2.1"
	Number  int    // 40201
	// SlowStart: /run is no tmpfs, so CRIU cannot keep what it found out about the kernel and probes it anew each time
	// (some 40 ms per operation, with the tasks standing still).
	SlowStart bool
}

// ask sends a request of which nothing comes but its answer to a CRIU of its own.
func ask(ctx context.Context, path string, req *rpc.CriuReq) (*rpc.CriuResp, error) {
	w, err := Start(Config{Path: path})
	if err != nil {
		return nil, err
	}
	defer w.Kill()
	stop := context.AfterFunc(ctx, w.Kill)
	defer stop()
	resp, err := w.converse(ctx, req, nil)
	if err != nil {
		return nil, fmt.Errorf("probe %s: %w", path, errors.Join(ctx.Err(), err))
	}
	return resp, nil
}

// Probe asks the program at path for its version. A missing, broken or too old one is an error.
func Probe(ctx context.Context, path string) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	resp, err := ask(ctx, path, &rpc.CriuReq{Type: rpc.CriuReqType_VERSION.Enum()})
	if err != nil {
		return Info{}, err
	}
	v := resp.GetVersion()
	info := Info{
		Version: fmt.Sprintf("%d.%d", v.GetMajorNumber(), v.GetMinorNumber()),
		Number:  int(v.GetMajorNumber())*10000 + int(v.GetMinorNumber())*100 + int(v.GetSublevel()),
	}
	if v.GetSublevel() != 0 {
		info.Version += fmt.Sprintf(".%d", v.GetSublevel())
	}
	if info.Number < MinVersion {
		return info, fmt.Errorf("probe %s: criu %s is too old, need %d.%d", path, info.Version, MinVersion/10000, MinVersion/100%100)
	}
	// Any question about features makes CRIU probe the kernel and keep what it finds: the first freeze need not wait for it.
	features := &rpc.CriuFeatures{MemTrack: proto.Bool(true)}
	if _, err := ask(ctx, path, &rpc.CriuReq{Type: rpc.CriuReqType_FEATURE_CHECK.Enum(), Features: features}); err != nil {
		return info, err
	}
	var fs unix.Statfs_t
	info.SlowStart = unix.Statfs("/run", &fs) != nil || fs.Type != unix.TMPFS_MAGIC
	return info, nil
}
