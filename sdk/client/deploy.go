package client

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/catenary-run/catenary/functions"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
	"github.com/catenary-run/catenary/sdk"
)

// Bundle is what one deploy brings: what `catenary build` makes.
type Bundle struct {
	Manifests []functions.Manifest
	Models    []functions.Model
	Chains    []sdk.ChainDescription
	// Open returns the bytes of an artifact or a model and their count. It is called for those that the server lacks.
	Open func(functions.Digest) (io.ReadCloser, int64, error)
}

// Deploy sends b: first the blobs that the server lacks, then the rest as one. It returns when everything is prepared
// and the names have moved; if it returns an error, no chain has moved.
func (c *Client) Deploy(ctx context.Context, b Bundle) (*catenaryv1.DeployResponse, error) {
	for _, d := range b.digests() {
		if err := c.putFrom(ctx, b, d); err != nil {
			return nil, err
		}
	}
	req := &catenaryv1.DeployRequest{}
	for _, m := range b.Manifests {
		req.Manifests = append(req.Manifests, m.Canonical())
	}
	for _, m := range b.Models {
		req.Models = append(req.Models, m.Canonical())
	}
	for _, ch := range b.Chains {
		req.Chains = append(req.Chains, &catenaryv1.ChainSpec{Json: ch.Spec.Canonical(), Positions: ch.Positions})
	}
	resp, err := c.chains.Deploy(ctx, req)
	if err != nil {
		return nil, c.failure(ctx, err)
	}
	return resp, nil
}

// digests returns every blob of the bundle once.
func (b Bundle) digests() []functions.Digest {
	var all []functions.Digest
	for _, m := range b.Manifests {
		all = append(all, m.Artifact)
	}
	for _, m := range b.Models {
		if m.File != "" {
			all = append(all, m.File)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (c *Client) putFrom(ctx context.Context, b Bundle, d functions.Digest) error {
	there, err := c.hasBlob(ctx, d)
	if err != nil || there {
		return err
	}
	if b.Open == nil {
		return fmt.Errorf("%w: blob %s is neither on the server nor in the bundle", functions.ErrNotFound, d.Short())
	}
	body, size, err := b.Open(d)
	if err != nil {
		return fmt.Errorf("open blob %s: %w", d.Short(), err)
	}
	return c.put(ctx, d, size, body)
}
