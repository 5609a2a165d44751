package redisprobe

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Started is the first line that vzprobe prints: the connection stands.
type Started struct {
	Event string    `json:"event"` // "start"
	Addr  string    `json:"addr"`
	Local string    `json:"local"` // the client's end of the connection
	At    time.Time `json:"at"`
}

// Command is a vzprobe that is ready to be started, e.g. a *lab.Cmd.
type Command interface {
	StdoutPipe() (io.ReadCloser, error)
	Start() error
	Wait() error
	Signal(os.Signal) error
}

// Remote is a probe that runs in another process.
type Remote struct {
	Started Started
	cmd     Command
	lines   *bufio.Reader
}

// StartRemote starts "vzprobe run ..." and returns when its connection stands.
func StartRemote(cmd Command) (*Remote, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start probe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start probe: %w", err)
	}
	r := &Remote{cmd: cmd, lines: bufio.NewReader(out)}
	if err := r.line(&r.Started); err != nil {
		return nil, errors.Join(fmt.Errorf("start probe: %w", err), cmd.Wait())
	}
	return r, nil
}

// Stop ends the probe and returns what it saw. The error is about the probe, not about what it saw: see Summary.Err.
func (r *Remote) Stop() (Summary, error) {
	if err := r.cmd.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return Summary{}, fmt.Errorf("stop probe: %w", err)
	}
	return r.Wait()
}

// Wait waits until the probe ends by itself (vzprobe run --for) and returns what it saw.
func (r *Remote) Wait() (Summary, error) {
	var s Summary
	err := r.line(&s)
	// It exits with 1 when something was wrong, which the summary tells better.
	waitErr := r.cmd.Wait()
	if err != nil {
		return s, errors.Join(fmt.Errorf("read probe's summary: %w", err), waitErr)
	}
	return s, nil
}

func (r *Remote) line(v any) error {
	line, err := r.lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, v)
}
