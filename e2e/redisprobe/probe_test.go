package redisprobe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// server is a Redis that knows one counter and can misbehave at a given increment.
type server struct {
	counter int64
	at      int64 // the increment at which it misbehaves
	fault   func(s *server) error
	other   map[string]string
}

func (s *server) serve(c *Conn) error {
	for {
		v, err := c.Receive() // requests have the form of array replies
		if err != nil {
			return err
		}
		var args []string
		for _, a := range v.([]any) {
			args = append(args, a.(string))
		}
		if err := s.handle(c, args); err != nil {
			return errors.Join(err, c.Close())
		}
	}
}

func (s *server) handle(c *Conn, args []string) error {
	reply := "+OK"
	switch args[0] {
	case "DEL":
		s.counter, reply = 0, ":0"
	case "INCR":
		s.counter++
		if s.counter == s.at {
			s.at = 0
			if err := s.fault(s); err != nil {
				return err
			}
		}
		reply = ":" + strconv.FormatInt(s.counter, 10)
	case "GET":
		n := strconv.FormatInt(s.counter, 10)
		reply = fmt.Sprintf("$%d\r\n%s", len(n), n)
	case "ECHO":
		reply = fmt.Sprintf("$%d\r\n%s", len(args[1]), args[1])
	case "SET":
		s.other[args[1]] = args[2]
	default:
		reply = "-ERR unknown command"
	}
	_, err := io.WriteString(c.nc, reply+"\r\n")
	return err
}

// buffered is a pipe whose writes do not wait for the reader, as those of a TCP connection do not.
type buffered struct {
	net.Conn
	out chan []byte
}

func newBuffered(c net.Conn) *buffered {
	b := &buffered{Conn: c, out: make(chan []byte, 1<<16)}
	go func() {
		for data := range b.out {
			if _, err := c.Write(data); err != nil {
				return
			}
		}
	}()
	return b
}

func (b *buffered) Write(data []byte) (int, error) {
	b.out <- append([]byte(nil), data...)
	return len(data), nil
}

// probe runs a probe against a server for a time.
func probe(t *testing.T, s *server, cfg Config, d time.Duration) Summary {
	t.Helper()
	var sum Summary
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		bn, bf := newBuffered(near), newBuffered(far)
		done := make(chan error, 1)
		go func() { done <- s.serve(NewConn(bf)) }()
		ctx, cancel := context.WithTimeout(context.Background(), d)
		defer cancel()
		sum = Run(ctx, NewConn(bn), cfg)
		near.Close()
		<-done
		far.Close()
		close(bn.out)
		close(bf.out)
	})
	return sum
}

func TestProbe(t *testing.T) {
	stall := func(d time.Duration) func(*server) error {
		return func(*server) error { time.Sleep(d); return nil }
	}
	for _, tt := range []struct {
		name           string
		fault          func(*server) error
		lost, repeated int64
		longest        time.Duration // at least
		err            string        // part of Summary.Err; empty: none
	}{
		{name: "healthy", longest: time.Millisecond},
		{name: "stalled", fault: stall(80 * time.Millisecond), longest: 80 * time.Millisecond},
		{name: "lost", fault: func(s *server) error { s.counter -= 3; return nil }, lost: 3, err: "3 increments lost"},
		{name: "repeated", fault: func(s *server) error { s.counter++; return nil }, repeated: 1, err: "1 repeated"},
		{name: "closed", fault: func(*server) error { return errors.New("dies") }, err: "redis: "},
		{name: "silent", fault: stall(time.Hour), err: "timeout"},
	} {
		for _, window := range []int{1, 16} {
			t.Run(fmt.Sprintf("%s/%d", tt.name, window), func(t *testing.T) {
				s := &server{at: 100, fault: tt.fault}
				if tt.fault == nil {
					s.at = 0
				}
				sum := probe(t, s, Config{Window: window, Timeout: 10 * time.Second}, time.Second)
				if sum.Lost != tt.lost || sum.Repeated != tt.repeated {
					t.Errorf("lost %d, repeated %d; want %d, %d", sum.Lost, sum.Repeated, tt.lost, tt.repeated)
				}
				if err := sum.Err(); tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				if tt.longest > 0 && (sum.Longest() < tt.longest || sum.Longest() > tt.longest+5*time.Millisecond) {
					t.Errorf("longest gap %s, want about %s", sum.Longest(), tt.longest)
				}
				if tt.err == "" && sum.Count < 800 {
					t.Errorf("%d replies in a second of one per ms", sum.Count)
				}
				for i, g := range sum.Gaps[min(1, len(sum.Gaps)):] {
					if g.MS > sum.Gaps[i].MS {
						t.Errorf("gaps are not in order: %v", sum.Gaps)
					}
				}
			})
		}
	}
}

func TestProbeLeavesDataAsItWas(t *testing.T) {
	s := &server{}
	sum := probe(t, s, Config{}, 50*time.Millisecond)
	if err := sum.Err(); err != nil {
		t.Fatal(err)
	}
	if s.counter != 0 {
		t.Errorf("the counter is still there: %d", s.counter)
	}
}

func TestFillIsDeterministic(t *testing.T) {
	fill := func(seed uint64) map[string]string {
		s := &server{other: make(map[string]string)}
		near, far := net.Pipe()
		go s.serve(NewConn(newBuffered(far))) //nolint:errcheck // ends with the pipe
		c := NewConn(near)
		if err := c.Fill(t.Context(), 1, seed); err != nil {
			t.Fatal(err)
		}
		c.Close()
		return s.other
	}
	a, b, c := fill(1), fill(1), fill(2)
	if len(a) != perMiB || len(a["fill:0"]) != fillValue {
		t.Fatalf("%d keys of %d bytes", len(a), len(a["fill:0"]))
	}
	if a["fill:255"] != b["fill:255"] || a["fill:255"] == c["fill:255"] || a["fill:255"] == a["fill:254"] {
		t.Error("the seed does not decide about the data")
	}
}

func TestMalformedReplies(t *testing.T) {
	for _, raw := range []string{"", "\n", "+\r\n\n", "x\r\n", ":1x\r\n", "$-2\r\n", "$99999999999\r\n", "$5\r\nab", "*1\r\n", "*-7\r\n", strings.Repeat("*1\r\n", 20)} {
		near, far := net.Pipe()
		go func() {
			io.WriteString(far, raw) //nolint:errcheck // the reader may stop early
			far.Close()
		}()
		if v, err := NewConn(near).Receive(); err == nil && raw != "+\r\n\n" {
			t.Errorf("%q: got %v", raw, v)
		}
		near.Close()
	}
}
