package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// The control protocol between the lab and a keeper: one request and one answer, each a JSON document, per connection.
type controlRequest struct {
	Op     string // "start", "signal" or "list"
	Daemon Daemon // start
	Role   string // signal
	Signal int    // signal
}

type controlResponse struct {
	Processes  []Process
	Error      string
	NotRunning bool // the error is errNotRunning
}

// controlTimeout bounds one exchange with a keeper: all of it is local work.
const controlTimeout = 20 * time.Second

func serveControl(l net.Listener, s *supervisor) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return fmt.Errorf("control socket: %w", err)
		}
		go func() {
			defer c.Close()
			c.SetDeadline(time.Now().Add(controlTimeout)) //nolint:errcheck // then the exchange fails
			var req controlRequest
			if err := json.NewDecoder(c).Decode(&req); err != nil {
				return
			}
			json.NewEncoder(c).Encode(s.answer(req)) //nolint:errcheck // the caller is gone
		}()
	}
}

func (s *supervisor) answer(req controlRequest) controlResponse {
	var err error
	switch req.Op {
	case "start":
		_, err = s.start(req.Daemon)
	case "signal":
		err = s.signal(req.Role, syscall.Signal(req.Signal))
	case "list":
	default:
		err = fmt.Errorf("unknown request %q", req.Op)
	}
	if err != nil {
		return controlResponse{Error: err.Error(), NotRunning: errors.Is(err, errNotRunning)}
	}
	return controlResponse{Processes: s.list()}
}

// control makes one request to a host's keeper.
func control(dir, host string, req controlRequest) ([]Process, error) {
	c, err := net.DialTimeout("unix", controlPath(dir, host), controlTimeout)
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", host, err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(controlTimeout)) //nolint:errcheck // then the exchange fails
	if err := json.NewEncoder(c).Encode(req); err != nil {
		return nil, fmt.Errorf("host %s: %w", host, err)
	}
	var resp controlResponse
	if err := json.NewDecoder(c).Decode(&resp); err != nil {
		return nil, fmt.Errorf("host %s: %w", host, err)
	}
	switch {
	case resp.NotRunning:
		return nil, fmt.Errorf("host %s: %s: %w", host, req.Role, errNotRunning)
	case resp.Error != "":
		return nil, fmt.Errorf("host %s: %s", host, resp.Error)
	}
	return resp.Processes, nil
}
