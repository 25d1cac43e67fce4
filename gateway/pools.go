package gateway

import (
	"cmp"
	"context"
	"slices"

	"github.com/catenary-run/catenary/functions"
)

// The tiers that a node need not know of a version to say: nothing of it is here, and nothing of it can be.
const (
	tierCold        = "cold"
	tierUnavailable = "unavailable"
)

// Deployed returns what a node holds together with what is deployed and sleeps there without a trace, sorted by name
// and version. Versions that were replaced, or refused by a deploy, are left out as far as nothing is left of them.
// NoEngine is why no model's file can be loaded, or nil: it stands for the models that nobody has asked for yet.
func (p Pools) Deployed(ctx context.Context, cat functions.Catalogue, noEngine error) (Pools, error) {
	fns, err := versions(ctx, cat, functionPrefix)
	if err != nil {
		return Pools{}, err
	}
	models, err := versions(ctx, cat, modelPrefix)
	if err != nil {
		return Pools{}, err
	}
	var all Pools
	for _, f := range p.Functions {
		current := fns[f.Digest]
		delete(fns, f.Digest)
		if current || f.Tier != tierCold || f.Instances+f.Queued > 0 {
			all.Functions = append(all.Functions, f)
		}
	}
	for _, m := range p.Models {
		delete(models, m.Digest)
		all.Models = append(all.Models, m)
	}
	for digest := range fns {
		m, err := functions.ReadRecord[functions.Manifest](ctx, cat, functions.RecordManifest, digest)
		if err != nil {
			return Pools{}, err
		}
		all.Functions = append(all.Functions, FunctionPool{Name: m.Name, Kind: m.Kind, Digest: digest, Tier: tierCold})
	}
	for digest := range models {
		m, err := functions.ReadRecord[functions.Model](ctx, cat, functions.RecordModel, digest)
		if err != nil {
			return Pools{}, err
		}
		row := ModelPool{Name: m.Name, Digest: digest, Tier: tierCold}
		if noEngine != nil && m.Engine == functions.EngineLlama {
			row.Tier, row.Why = tierUnavailable, functions.OneLine(noEngine)
		}
		all.Models = append(all.Models, row)
	}
	slices.SortFunc(all.Functions, func(a, b FunctionPool) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Digest, b.Digest))
	})
	slices.SortFunc(all.Models, func(a, b ModelPool) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Digest, b.Digest))
	})
	return all, nil
}

// versions returns what the names with the prefix point to.
func versions(ctx context.Context, cat functions.Catalogue, prefix string) (map[functions.Digest]bool, error) {
	all, err := cat.Aliases(ctx, prefix)
	if err != nil {
		return nil, err
	}
	set := map[functions.Digest]bool{}
	for _, a := range all {
		set[a.Digest] = true
	}
	return set, nil
}
