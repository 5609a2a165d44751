package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const abandonEnv = "VZMASTER_TEST_ABANDON"

func TestMain(m *testing.M) {
	if os.Getenv(abandonEnv) != "" {
		dying()
	}
	os.Exit(m.Run())
}

// dying is a process with a client that ends with abandon. Its sockets are open in its parent as well, as if a thread of it was
// stuck in the kernel.
func dying() {
	lis, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		panic(err)
	}
	if _, err := lis.Accept(); err != nil {
		panic(err)
	}
	abandon(errors.New("the disk hangs"))
}

func TestAbandonCutsClientsOff(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	f, err := lis.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), abandonEnv+"=1")
	cmd.ExtraFiles = []*os.File{f}
	var out strings.Builder
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := bufio.NewReader(c).ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the client got %v, want the end", err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("the process ended with %v, want exit 1", err)
	}
	if out.String() != "error: the disk hangs\n" {
		t.Errorf("last words %q", out.String())
	}
	// The listener was shut down for everybody who holds it, this process too.
	if c, err := net.Dial("tcp", lis.Addr().String()); err == nil {
		c.Close()
		t.Error("a client can still connect")
	}
}

func TestLastWordsAreGivenUp(t *testing.T) {
	r, w := io.Pipe() // nobody reads
	defer r.Close()
	start := time.Now()
	say(w, errors.New("x"), 10*time.Millisecond)
	if d := time.Since(start); d < 10*time.Millisecond {
		t.Errorf("gave up after %v", d)
	}
}
