package main

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/vzcluster/vzcluster/pkg/cli"
	"github.com/vzcluster/vzcluster/pkg/cluster"
	"github.com/vzcluster/vzcluster/proto/vzpb"
)

// containerDoc is a container in JSON: its record, and what is known besides.
type containerDoc struct {
	cluster.Container
	NodeState cluster.NodeState `json:"node_state,omitempty"` // in lists: of its node
	Usage     *cluster.Usage    `json:"usage,omitempty"`
	Op        string            `json:"op,omitempty"`
	DryRun    bool              `json:"dry_run,omitempty"`
	Detached  bool              `json:"detached,omitempty"` // the order was accepted and not waited for
}

// status is the container's state for people: of a node that is silent nobody knows what runs there.
func (d containerDoc) status() string {
	if d.State == cluster.ContainerRunning && d.NodeState != "" && d.NodeState != cluster.NodeOnline {
		return "unknown"
	}
	return string(d.State)
}

// containerOf reads an answer.
func containerOf(r *vzpb.ContainerResponse) (containerDoc, error) {
	var d containerDoc
	if err := decode(r.GetJson(), &d.Container); err != nil {
		return d, err
	}
	d.NodeState = cluster.NodeState(r.GetNodeState())
	if u := r.GetUsageJson(); len(u) > 0 {
		d.Usage = &cluster.Usage{}
		if err := decode(u, d.Usage); err != nil {
			return d, err
		}
	}
	return d, nil
}

// containers asks for containers: one by name, or those of a node, or all.
func (a *app) containers(ctx context.Context, name, node string) ([]containerDoc, error) {
	var resp *vzpb.ListContainersResponse
	err := a.read(ctx, func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) (err error) {
		resp, err = stub.ListContainers(ctx, &vzpb.ListContainersRequest{Name: name, Node: node}, opts...)
		return err
	})
	if err != nil {
		return nil, err
	}
	docs := make([]containerDoc, 0, len(resp.GetContainers()))
	for _, r := range resp.GetContainers() {
		d, err := containerOf(r)
		if err != nil {
			return nil, err
		}
		docs = append(docs, d)
	}
	return docs, nil
}

// container asks for one container by CTID or name.
func (a *app) container(ctx context.Context, name string) (containerDoc, error) {
	docs, err := a.containers(ctx, name, "")
	if err != nil {
		return containerDoc{}, err
	}
	if len(docs) != 1 {
		return containerDoc{}, cli.Errorf(cli.NotFound, "no container %q", name)
	}
	return docs[0], nil
}

// change makes a call of one of the container orders and reads its answer.
func (a *app) change(ctx context.Context, o *order,
	call func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) (*vzpb.ContainerResponse, error)) (containerDoc, error) {
	var resp *vzpb.ContainerResponse
	err := a.mutate(ctx, o.key(), func(ctx context.Context, stub vzpb.ClusterClient, opts ...grpc.CallOption) (err error) {
		resp, err = call(ctx, stub, opts...)
		return err
	})
	if err != nil {
		return containerDoc{}, err
	}
	d, err := containerOf(resp)
	d.Op, d.DryRun = o.key(), o.dryRun
	return d, err
}

// done prints the result of an order on a container: what it did, would do, or has only begun.
func (a *app) done(o *order, d containerDoc, begun, result string) error {
	d.Op, d.DryRun, d.Detached = o.key(), o.dryRun, o.detach && !o.dryRun
	text := fmt.Sprintf("container %s %s", cli.Title(&d.Container), result)
	switch {
	case d.DryRun:
		text = fmt.Sprintf("container %s: %s would be accepted; nothing was changed", cli.Title(&d.Container), begun)
	case d.Detached:
		text = fmt.Sprintf("container %s: %s accepted; follow it with 'vzctl-cluster job wait %s'", cli.Title(&d.Container), begun, d.Op)
	}
	return a.result(d, "%s", text)
}
