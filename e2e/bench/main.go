package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vzcluster/vzcluster/e2e/harness"
)

// options are the command line.
type options struct {
	sizes []int // MiB
	runs  int
	rate  string
	json  string
	only  string
}

func main() {
	o := options{sizes: []int{0, 64, 256, 1024}}
	flag.Func("sizes", "MiB of data in Redis, `N,N...` (default 0,64,256,1024)", func(v string) (err error) {
		o.sizes, err = parseSizes(v)
		return err
	})
	flag.IntVar(&o.runs, "runs", 10, "moves of each way with each size")
	flag.StringVar(&o.rate, "rate", "", "cap the links of the two hosts, such as 1gbit (default: no cap)")
	flag.StringVar(&o.json, "json", "", "write all figures to this `FILE`, too")
	flag.StringVar(&o.only, "only", "", "measure one `WAY` only: "+strings.Join(wayNames, " or "))
	flag.Parse()
	if flag.NArg() > 0 || o.runs < 1 || (o.only != "" && o.only != oursName && o.only != classicName) {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

// maxMiB keeps two containers, their images at both ends and the restored copies within a usual machine's memory.
const maxMiB = 64 << 10

func parseSizes(v string) ([]int, error) {
	var out []int
	for f := range strings.SplitSeq(v, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(f))
		if err != nil || n < 0 || n > maxMiB {
			return nil, fmt.Errorf("%q: want MiB from 0 to %d", f, maxMiB)
		}
		out = append(out, n)
	}
	return out, nil
}

// run measures everything and prints it. Its error says that something could not be measured, or that the product broke a promise.
func run(ctx context.Context, o options) (err error) {
	template := filepath.Join(harness.TemplateDir(), templateName+".tar")
	if _, err := os.Stat(template); err != nil {
		return fmt.Errorf("no template: run `make deps` first: %w", err)
	}
	b := &bench{runs: o.runs, log: os.Stderr}
	if err := b.up(ctx, o, template); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			fmt.Fprintf(os.Stderr, "the lab's logs are kept in %s\n", b.c.Lab.Dir())
		}
		err = errors.Join(err, b.c.Close(err != nil))
	}()
	report := Report{Started: time.Now().UTC(), Machine: machine(), Versions: versions(ctx, b.c.Lab), Rate: o.rate}
	fmt.Printf("%s; %v\n", report.Machine, report.Versions)
	var broken []error
	for _, mib := range o.sizes {
		r, err := b.size(ctx, mib)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			broken = append(broken, fmt.Errorf("%d MiB: %w", mib, err))
		}
		if r.Moves == nil {
			break
		}
		for _, text := range r.Trouble[oursName] {
			broken = append(broken, fmt.Errorf("%d MiB: %s", mib, text))
		}
		report.Results = append(report.Results, r)
		if err := r.write(os.Stdout); err != nil {
			return err
		}
	}
	broken = append(broken, writeOverview(os.Stdout, report.Results), save(o.json, report))
	return errors.Join(broken...)
}

// save writes the report as JSON; with no file named it does nothing.
func save(file string, r Report) error {
	if file == "" {
		return nil
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}
