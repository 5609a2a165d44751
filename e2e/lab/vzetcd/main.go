// Command vzetcd is one member of an etcd, for labs whose masters keep the cluster's state in one. It speaks TLS only, to clients and
// between members, with one certificate for all; what it logs goes to stderr.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// options are the command line.
type options struct {
	name, dir, client, peer, cluster, cert, key, ca string

	wait bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:           "vzetcd --name NAME --data-dir DIR --client URL --peer URL --cluster NAME=URL,... --cert FILE --key FILE --ca FILE",
		Short:         "A member of a lab's etcd",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.wait {
				return o.answers(c.Context())
			}
			return o.run(c.Context())
		},
	}
	f := c.Flags()
	f.StringVar(&o.name, "name", "", "of this member")
	f.StringVar(&o.dir, "data-dir", "", "directory of the data")
	f.StringVar(&o.client, "client", "", "URL for clients")
	f.StringVar(&o.peer, "peer", "", "URL for the other members")
	f.StringVar(&o.cluster, "cluster", "", "all members, with their peer URLs")
	f.StringVar(&o.cert, "cert", "", "certificate, PEM")
	f.StringVar(&o.key, "key", "", "its key, PEM")
	f.StringVar(&o.ca, "ca", "", "who signs everybody's certificates, PEM")
	f.BoolVar(&o.wait, "wait", false, "only wait until the member with this command line answers a linearizable read")
	return c
}

// answers waits until the member at --client takes part.
func (o *options) answers(ctx context.Context) error {
	conf, err := transport.TLSInfo{CertFile: o.cert, KeyFile: o.key, TrustedCAFile: o.ca}.ClientConfig()
	if err != nil {
		return err
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{o.client}, TLS: conf, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		one, cancel := context.WithTimeout(ctx, time.Second)
		_, err := client.Get(one, "/")
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", o.client, err)
		}
	}
}

// run is the member until ctx ends. Its start waits for a quorum, so it must not hold up the end.
func (o *options) run(ctx context.Context) error {
	conf, err := o.config()
	if err != nil {
		return err
	}
	etcd, err := embed.StartEtcd(conf)
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	select {
	case <-ctx.Done():
		etcd.Close()
		return nil
	case <-etcd.Server.StopNotify():
		etcd.Close()
		return errors.New("etcd has stopped")
	case err := <-etcd.Err():
		etcd.Close()
		return fmt.Errorf("etcd: %w", err)
	}
}

func (o *options) config() (*embed.Config, error) {
	client, err := url.Parse(o.client)
	if err != nil {
		return nil, fmt.Errorf("--client: %w", err)
	}
	peer, err := url.Parse(o.peer)
	if err != nil {
		return nil, fmt.Errorf("--peer: %w", err)
	}
	conf := embed.NewConfig()
	conf.Name, conf.Dir = o.name, o.dir
	conf.LogLevel, conf.LogFormat, conf.LogOutputs = "warn", "console", []string{"stderr"}
	conf.ListenClientUrls, conf.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	conf.ListenPeerUrls, conf.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	conf.InitialCluster = o.cluster
	tls := transport.TLSInfo{CertFile: o.cert, KeyFile: o.key, TrustedCAFile: o.ca, ClientCertAuth: true}
	conf.ClientTLSInfo, conf.PeerTLSInfo = tls, tls
	// As a site would have it: otherwise it grows for ever.
	conf.AutoCompactionMode, conf.AutoCompactionRetention = embed.CompactorModePeriodic, "5m"
	return conf, nil
}
