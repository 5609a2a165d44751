package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	clients []int
	time    time.Duration // of one measurement
	rounds  int
	size    int // bytes of a value
	kills   int
	rows    int // containers in the full state
	dir     string
	json    string
	only    string
	profile string
}

// parts are what can be measured by itself.
var parts = []string{"log", "masters", "failover", "full"}

func main() {
	if len(os.Args) > 1 && os.Args[1] == memberCommand {
		exit(runMember(os.Args[2:]))
	}
	o := options{clients: []int{1, 4, 16, 64}}
	flag.Func("clients", "clients at a time, `N,N...` (default 1,4,16,64)", func(v string) (err error) {
		o.clients, err = parseClients(v)
		return err
	})
	flag.DurationVar(&o.time, "time", 4*time.Second, "how long each number of clients writes")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each number of clients is measured; the median counts")
	flag.IntVar(&o.size, "size", 512, "bytes of a value, with the log alone")
	flag.IntVar(&o.kills, "kills", 7, "how often the leader is killed")
	flag.IntVar(&o.rows, "containers", 100_000, "containers of the full state, on a hundredth as many nodes")
	flag.StringVar(&o.dir, "dir", "", "`DIR` on the disk to be measured (default: a new one in the directory for temporary files)")
	flag.StringVar(&o.json, "json", "", "write all figures to this `FILE`, too")
	flag.StringVar(&o.only, "only", "", "measure one `PART` only: "+strings.Join(parts, ", "))
	flag.StringVar(&o.profile, "profile", "", "have each raft member leave a CPU profile in this `DIR`")
	flag.Parse()
	if flag.NArg() > 0 || o.rounds < 1 || o.size < 1 || o.kills < 1 || o.rows < 100 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	exit(run(ctx, o))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// maxClients is as many calls as one connection of ours carries (rpc.MaxStreams), with room to spare.
const maxClients = 100

func parseClients(v string) ([]int, error) {
	var out []int
	for f := range strings.SplitSeq(v, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(f))
		if err != nil || n < 1 || n > maxClients {
			return nil, fmt.Errorf("%q: want clients from 1 to %d", f, maxClients)
		}
		out = append(out, n)
	}
	return out, nil
}

// run measures what was asked for and prints it.
func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp(o.dir, "vzbenchstore-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{options: o, dir: dir, report: Report{Started: time.Now().UTC(), Machine: machine(), Size: o.size}}
	fmt.Println(b.report.Machine)
	for _, p := range []struct {
		name string
		run  func(context.Context) error
	}{{"log", b.log}, {"masters", b.masters}, {"failover", b.failover}, {"full", b.full}} {
		if o.only != "" && o.only != p.name {
			continue
		}
		if err := p.run(ctx); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return b.report.save(o.json)
}
