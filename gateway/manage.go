package gateway

import (
	"context"
	"errors"
	"time"

	"github.com/catenary-run/catenary/functions"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// Deploy checks and stores functions, models and chains, prepares them, and moves their aliases.
func (c *chainService) Deploy(ctx context.Context, req *catenaryv1.DeployRequest) (*catenaryv1.DeployResponse, error) {
	ctx, cancel := limited(ctx, c.s.cfg.DeployTimeout)
	defer cancel()
	resp, err := func() (*catenaryv1.DeployResponse, error) {
		if c.s.draining.Load() {
			return nil, errDraining
		}
		b, err := parseBundle(req)
		if err != nil {
			return nil, invalid(err)
		}
		return c.s.deploy(ctx, b)
	}()
	c.s.metrics.answered("deploy", err)
	if err != nil {
		return nil, c.s.publicError(ctx, err)
	}
	return resp, nil
}

// List returns the chains that are deployed, sorted by name.
func (c *chainService) List(ctx context.Context, _ *catenaryv1.ListRequest) (*catenaryv1.ListResponse, error) {
	resp, err := c.s.list(ctx)
	c.s.metrics.answered("list", err)
	if err != nil {
		return nil, c.s.publicError(ctx, err)
	}
	return resp, nil
}

func (s *Server) list(ctx context.Context) (*catenaryv1.ListResponse, error) {
	aliases, err := s.deps.Catalogue.Aliases(ctx, chainPrefix)
	if err != nil {
		return nil, err
	}
	resp := &catenaryv1.ListResponse{}
	var faults []error
	for _, a := range aliases {
		c, err := s.chains.load(ctx, a.Digest)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		resp.Chains = append(resp.Chains, deployedChain(c, a.Rev, false))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return resp, nil
}

func deployedChain(c *chain, rev uint64, changed bool) *catenaryv1.DeployedChain {
	g := c.Graph()
	return &catenaryv1.DeployedChain{
		Name: g.Spec.Name, SpecHash: g.Spec.Hash(), Graph: string(c.Hash()), Changed: changed, Rev: rev,
		In: portText(c.In()), Out: portText(c.Out()), Spec: g.Spec.Canonical(),
	}
}

func portText(p functions.Port) string {
	if p.Stream {
		return "Stream[" + p.Schema.String() + "]"
	}
	return p.Schema.String()
}

// Pools returns what the node holds.
func (c *chainService) Pools(ctx context.Context, _ *catenaryv1.PoolsRequest) (*catenaryv1.PoolsResponse, error) {
	ctx, cancel := limited(ctx, c.s.cfg.CallTimeout)
	defer cancel()
	pools, err := c.s.deps.Node.Pools(ctx)
	c.s.metrics.answered("pools", err)
	if err != nil {
		return nil, c.s.publicError(ctx, err)
	}
	return pools.Message(), nil
}

// Message returns what the node holds as it goes over a wire.
func (p Pools) Message() *catenaryv1.PoolsResponse {
	m := &catenaryv1.PoolsResponse{}
	for _, f := range p.Functions {
		m.Functions = append(m.Functions, &catenaryv1.FunctionPool{
			Name: f.Name, Kind: string(f.Kind), Digest: string(f.Digest), Tier: f.Tier, Instances: int64(f.Instances),
			Busy: int64(f.Busy), Queued: int64(f.Queued), MemBytes: f.MemBytes, WakeMs: millis(f.Wake), Captured: f.Captured, Why: f.Why,
		})
	}
	for _, d := range p.Models {
		m.Models = append(m.Models, &catenaryv1.ModelPool{
			Name: d.Name, Device: d.Device, Tier: d.Tier, Leases: int64(d.Leases), Queued: int64(d.Queued),
			MemBytes: d.MemBytes, WakeMs: millis(d.Wake), Why: d.Why,
		})
	}
	return m
}

// PoolsFrom is the inverse of [Pools.Message].
func PoolsFrom(m *catenaryv1.PoolsResponse) Pools {
	var p Pools
	for _, f := range m.GetFunctions() {
		p.Functions = append(p.Functions, FunctionPool{
			Name: f.Name, Kind: functions.Kind(f.Kind), Digest: functions.Digest(f.Digest), Tier: f.Tier, Instances: int(f.Instances),
			Busy: int(f.Busy), Queued: int(f.Queued), MemBytes: f.MemBytes, Wake: fromMillis(f.WakeMs), Captured: f.Captured, Why: f.Why,
		})
	}
	for _, d := range m.GetModels() {
		p.Models = append(p.Models, ModelPool{
			Name: d.Name, Device: d.Device, Tier: d.Tier, Leases: int(d.Leases), Queued: int(d.Queued),
			MemBytes: d.MemBytes, Wake: fromMillis(d.WakeMs), Why: d.Why,
		})
	}
	return p
}

func millis(d time.Duration) float64      { return float64(d) / float64(time.Millisecond) }
func fromMillis(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

func functionStatus(prepared []Prepared) []*catenaryv1.FunctionStatus {
	out := make([]*catenaryv1.FunctionStatus, len(prepared))
	for i, p := range prepared {
		out[i] = &catenaryv1.FunctionStatus{Name: p.Ref.Name, Digest: string(p.Ref.Digest), Captured: p.Captured, Why: p.Why}
	}
	return out
}
