package main

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// memberCommand is the hidden first argument that makes this program one member.
const memberCommand = "member"

// memberOptions are a member's command line.
type memberOptions struct {
	kind, name, dir, api string
	peers                []peer
	profile              string
}

// peer is one member as the others reach it.
type peer struct{ name, addr string }

func runMember(args []string) error {
	var o memberOptions
	f := flag.NewFlagSet(memberCommand, flag.ContinueOnError)
	f.StringVar(&o.kind, "kind", "", "raft or etcd")
	f.StringVar(&o.name, "name", "", "of this member")
	f.StringVar(&o.dir, "dir", "", "data directory")
	f.StringVar(&o.api, "api", "", "address for clients")
	f.StringVar(&o.profile, "profile", "", "directory for a CPU profile")
	f.Func("peers", "all members, NAME=ADDR,...", func(v string) error {
		for p := range strings.SplitSeq(v, ",") {
			name, addr, ok := strings.Cut(p, "=")
			if !ok {
				return fmt.Errorf("%q: want NAME=ADDR", p)
			}
			o.peers = append(o.peers, peer{name, addr})
		}
		return nil
	})
	if err := f.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if o.profile != "" {
		out, err := os.Create(filepath.Join(o.profile, o.kind+"-"+o.name+".pprof"))
		if err != nil {
			return err
		}
		defer out.Close()
		if err := pprof.StartCPUProfile(out); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	if o.kind == etcdKind {
		return o.runEtcd(ctx)
	}
	return o.runRaft(ctx)
}

func (o *memberOptions) addr(name string) string {
	for _, p := range o.peers {
		if p.name == name {
			return p.addr
		}
	}
	return ""
}

// runEtcd is one etcd as it is: its defaults, but for the addresses and a log that only warns.
func (o *memberOptions) runEtcd(ctx context.Context) error {
	conf := embed.NewConfig()
	conf.Name, conf.Dir, conf.LogLevel = o.name, o.dir, "warn"
	client, peerURL := url.URL{Scheme: "http", Host: o.api}, url.URL{Scheme: "http", Host: o.addr(o.name)}
	conf.ListenClientUrls, conf.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	conf.ListenPeerUrls, conf.AdvertisePeerUrls = []url.URL{peerURL}, []url.URL{peerURL}
	var all []string
	for _, p := range o.peers {
		all = append(all, p.name+"=http://"+p.addr)
	}
	conf.InitialCluster = strings.Join(all, ",")
	e, err := embed.StartEtcd(conf)
	if err != nil {
		return err
	}
	defer e.Close()
	select {
	case <-e.Server.ReadyNotify():
	case <-time.After(30 * time.Second):
	case <-ctx.Done():
		return nil
	}
	select {
	case err := <-e.Err():
		return err
	case <-ctx.Done():
		return nil
	}
}
