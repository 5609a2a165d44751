package criu

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/checkpoint-restore/go-criu/v7/rpc"
	"golang.org/x/sys/unix"
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

// Probe asks the program at path for its version. A missing, broken or too old one is an error.
func Probe(ctx context.Context, path string) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	w, err := Start(Config{Path: path})
	if err != nil {
		return Info{}, err
	}
	defer w.Kill()
	stop := context.AfterFunc(ctx, w.Kill)
	defer stop()
	t := rpc.CriuReqType_VERSION
	resp, err := w.converse(ctx, &rpc.CriuReq{Type: &t}, nil)
	if err != nil {
		return Info{}, fmt.Errorf("probe %s: %w", path, errors.Join(ctx.Err(), err))
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
	var fs unix.Statfs_t
	info.SlowStart = unix.Statfs("/run", &fs) != nil || fs.Type != unix.TMPFS_MAGIC
	return info, nil
}
