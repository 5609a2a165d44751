package raftlog

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// hclogger lets the hashicorp libraries write to a slog.Logger. Levels are slog's to decide.
type hclogger struct {
	to   *slog.Logger
	name string
	args []any
}

func newHclog(to *slog.Logger) hclog.Logger { return &hclogger{to: to} }

func slogLevel(l hclog.Level) slog.Level {
	switch l {
	case hclog.Trace:
		return slog.LevelDebug - 4
	case hclog.Debug:
		return slog.LevelDebug
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error:
		return slog.LevelError
	}
	return slog.LevelInfo
}

func (h *hclogger) enabled(l hclog.Level) bool {
	return h.to.Enabled(context.Background(), slogLevel(l))
}

// Log implements [hclog.Logger], as do all methods below.
func (h *hclogger) Log(l hclog.Level, msg string, args ...any) {
	if !h.enabled(l) {
		return
	}
	attrs := make([]any, len(args))
	for i, a := range args {
		// Some arguments are only good to be formatted: they are shared with goroutines that go on, or format with a width.
		switch a := a.(type) {
		case hclog.Format:
			attrs[i] = fmt.Sprintf(fmt.Sprint(a[0]), a[1:]...)
		case error, fmt.Stringer:
			attrs[i] = fmt.Sprint(a)
		default:
			attrs[i] = a
		}
	}
	h.to.Log(context.Background(), slogLevel(l), msg, attrs...)
}

func (h *hclogger) Trace(msg string, args ...any) { h.Log(hclog.Trace, msg, args...) }
func (h *hclogger) Debug(msg string, args ...any) { h.Log(hclog.Debug, msg, args...) }
func (h *hclogger) Info(msg string, args ...any)  { h.Log(hclog.Info, msg, args...) }
func (h *hclogger) Warn(msg string, args ...any)  { h.Log(hclog.Warn, msg, args...) }
func (h *hclogger) Error(msg string, args ...any) { h.Log(hclog.Error, msg, args...) }
func (h *hclogger) IsTrace() bool                 { return h.enabled(hclog.Trace) }
func (h *hclogger) IsDebug() bool                 { return h.enabled(hclog.Debug) }
func (h *hclogger) IsInfo() bool                  { return h.enabled(hclog.Info) }
func (h *hclogger) IsWarn() bool                  { return h.enabled(hclog.Warn) }
func (h *hclogger) IsError() bool                 { return h.enabled(hclog.Error) }
func (h *hclogger) ImpliedArgs() []any            { return h.args }
func (h *hclogger) Name() string                  { return h.name }
func (h *hclogger) SetLevel(hclog.Level)          {}

func (h *hclogger) With(args ...any) hclog.Logger {
	return &hclogger{h.to.With(args...), h.name, append(h.args[:len(h.args):len(h.args)], args...)}
}

func (h *hclogger) Named(name string) hclog.Logger {
	return h.ResetNamed(strings.TrimPrefix(h.name+"."+name, "."))
}

func (h *hclogger) ResetNamed(name string) hclog.Logger { return &hclogger{h.to, name, h.args} }

func (h *hclogger) GetLevel() hclog.Level {
	for _, l := range []hclog.Level{hclog.Trace, hclog.Debug, hclog.Info, hclog.Warn, hclog.Error} {
		if h.enabled(l) {
			return l
		}
	}
	return hclog.Off
}

func (h *hclogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(h.to.Handler(), slog.LevelInfo)
}

func (h *hclogger) StandardWriter(opts *hclog.StandardLoggerOptions) io.Writer {
	return h.StandardLogger(opts).Writer()
}
