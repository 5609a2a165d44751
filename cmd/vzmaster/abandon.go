package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// lastWords is how long the last line may take: the log may lie on the very disk that hangs.
const lastWords = time.Second

// abandon ends the process without touching the disk.
func abandon(err error) {
	say(os.Stderr, err, lastWords)
	hangUp()
	os.Exit(1)
}

// say writes err as the last line, and gives up after d.
func say(w io.Writer, err error, d time.Duration) {
	said := make(chan struct{})
	go func() {
		defer close(said)
		fmt.Fprintf(w, "error: %v\n", err)
	}()
	select {
	case <-said:
	case <-time.After(d):
	}
}

// hangUp shuts down every network socket of the process. A thread that waits for the disk in the kernel keeps a process that has
// ended, and with it all its descriptors, for as long as the disk hangs: clients would wait for answers from it.
func hangUp() {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return // then the clients wait for their keepalive
	}
	for _, n := range names {
		fd, err := strconv.Atoi(n.Name())
		if err != nil {
			continue
		}
		switch domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); {
		case err != nil:
		case domain == unix.AF_INET, domain == unix.AF_INET6:
			_ = unix.Shutdown(fd, unix.SHUT_RDWR) // one that is not connected has nobody who waits
		}
	}
}
