package main

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/catenary-run/catenary/coldstart"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gateway"
	"github.com/catenary-run/catenary/gpu"
	"github.com/catenary-run/catenary/internal/store"
)

// node is a gateway's Node made of the pools and the model runtime of this process.
type node struct {
	pools    *coldstart.Pools
	models   *gpu.Runtime
	deployed records
}

// run runs pools and models until ctx ends. The pools end first: their calls use models.
func (n *node) run(ctx context.Context) error {
	models, stopModels := context.WithCancel(context.WithoutCancel(ctx))
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer stopModels()
		return n.pools.Run(groupCtx)
	})
	group.Go(func() error { return n.models.Run(models) })
	return group.Wait()
}

func (n *node) Invoke(ctx context.Context, call functions.Call, in functions.Source, out functions.Sink) (functions.Timing, error) {
	return n.pools.Invoke(ctx, call, in, out)
}

func (n *node) Wake(ctx context.Context, fns, models []functions.Ref) error {
	return n.pools.Wake(ctx, fns, models)
}

func (n *node) Prepare(ctx context.Context, fns, models []functions.Ref) ([]gateway.Prepared, error) {
	done, err := n.pools.Prepare(ctx, fns, models)
	if err != nil {
		return nil, err
	}
	var prepared []gateway.Prepared
	for _, p := range done {
		if slices.Contains(fns, p.Ref) { // models have no image to tell of
			prepared = append(prepared, gateway.Prepared{Ref: p.Ref, Captured: p.Captured, Why: p.Why})
		}
	}
	return prepared, nil
}

// Pools returns what is held here, and what is deployed and sleeps.
func (n *node) Pools(ctx context.Context) (gateway.Pools, error) {
	var held gateway.Pools
	for _, p := range n.pools.Status() {
		held.Functions = append(held.Functions, gateway.FunctionPool{
			Name: p.Name, Kind: p.Kind, Digest: p.Version, Tier: string(p.Tier), Instances: p.Instances, Busy: p.Busy, Queued: p.Queued,
			MemBytes: p.MemBytes, Wake: p.WakeTime, Captured: p.Captured, Why: p.Why,
		})
	}
	for _, m := range n.models.Status() {
		held.Models = append(held.Models, gateway.ModelPool{
			Name: m.Name, Digest: m.Version, Device: m.Device, Tier: string(m.Tier), Leases: m.Leases, Queued: m.Queued, MemBytes: m.MemBytes,
			Wake: m.WakeTime, Why: m.Why,
		})
	}
	return held.Deployed(ctx, n.deployed.store, n.models.Unavailable())
}

// records reads what is deployed from the catalogue.
type records struct{ store *store.Store }

// Manifest returns the version of a function.
func (r records) Manifest(ctx context.Context, ref functions.Ref) (*functions.Manifest, error) {
	return functions.ReadRecord[functions.Manifest](ctx, r.store, functions.RecordManifest, ref.Digest)
}

// Model returns the version of a model.
func (r records) Model(ctx context.Context, ref functions.Ref) (*functions.Model, error) {
	return functions.ReadRecord[functions.Model](ctx, r.store, functions.RecordModel, ref.Digest)
}

// ModelFile returns a local file with the model's weights.
func (r records) ModelFile(ctx context.Context, m *functions.Model) (string, error) {
	path, err := r.store.Whole(ctx, m.File)
	if err != nil {
		return "", functions.MissingBlob("model file", err)
	}
	return path, nil
}
