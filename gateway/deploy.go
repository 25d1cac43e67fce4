package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/catenary-run/catenary/chains"
	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

const (
	// maxDeployed bounds each kind of thing in one deploy.
	maxDeployed = 1000
	// deployTries bounds how often a deploy begins again because another one moved what it rests on.
	deployTries = 5
)

// bundle is what one deploy brings.
type bundle struct {
	manifests map[string]*functions.Manifest
	models    map[string]*functions.Model
	chains    []spec.Chain
}

// resolved is a bundle checked against what is deployed already.
type resolved struct {
	graphs  []*chains.Graph
	plans   []*chain
	aliases []functions.Alias // to be moved: functions and models, then chains; Rev is the revision that was seen
	fns     []functions.Ref   // to be prepared
	models  []functions.Ref
}

// deploy checks b, stores it, has it prepared, and only then moves the aliases. If another deploy moves a chain
// meanwhile it begins again with what is there then.
func (s *Server) deploy(ctx context.Context, b *bundle) (*catenaryv1.DeployResponse, error) {
	if err := s.checkBlobs(ctx, b); err != nil {
		return nil, err
	}
	for range deployTries {
		r, err := s.resolveBundle(ctx, b)
		if err != nil {
			return nil, err
		}
		if err := s.storeRecords(ctx, b, r); err != nil {
			return nil, err
		}
		prepared, err := s.deps.Node.Prepare(ctx, r.fns, r.models)
		if err != nil {
			return nil, fmt.Errorf("prepare: %w", err)
		}
		resp := &catenaryv1.DeployResponse{Functions: functionStatus(prepared)}
		err = s.moveAliases(ctx, r, resp)
		if errors.Is(err, functions.ErrConflict) {
			s.log.Info("another deploy was faster; checking against what it left", "err", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		return resp, nil
	}
	return nil, fmt.Errorf("%w: other deploys moved the same names %d times meanwhile; deploy again", functions.ErrConflict, deployTries)
}

// parseBundle reads and checks what can be checked without the catalogue. Its error joins all faults.
func parseBundle(req *catenaryv1.DeployRequest) (*bundle, error) {
	b := &bundle{manifests: map[string]*functions.Manifest{}, models: map[string]*functions.Model{}}
	if len(req.Manifests)+len(req.Models)+len(req.Chains) == 0 {
		return nil, fmt.Errorf("%w: the deploy is empty", functions.ErrInvalid)
	}
	if max(len(req.Manifests), len(req.Models), len(req.Chains)) > maxDeployed {
		return nil, fmt.Errorf("%w: more than %d functions, models or chains in one deploy", functions.ErrInvalid, maxDeployed)
	}
	var faults []error
	for i, data := range req.Manifests {
		m := new(functions.Manifest)
		if err := strict(data, m); err != nil {
			faults = append(faults, fmt.Errorf("%w: manifest %d: %w", functions.ErrInvalid, i, err))
			continue
		}
		if b.manifests[m.Name] != nil {
			faults = append(faults, fmt.Errorf("%w: function %q is there twice", functions.ErrInvalid, m.Name))
		}
		b.manifests[m.Name] = m
		faults = append(faults, m.Validate())
	}
	for i, data := range req.Models {
		m := new(functions.Model)
		if err := strict(data, m); err != nil {
			faults = append(faults, fmt.Errorf("%w: model %d: %w", functions.ErrInvalid, i, err))
			continue
		}
		if b.models[m.Name] != nil {
			faults = append(faults, fmt.Errorf("%w: model %q is there twice", functions.ErrInvalid, m.Name))
		}
		b.models[m.Name] = m
		faults = append(faults, m.Validate())
	}
	names := map[string]bool{}
	for i, cs := range req.Chains {
		var c spec.Chain
		if err := strict(cs.GetJson(), &c); err != nil {
			faults = append(faults, fmt.Errorf("%w: chain %d: %w", functions.ErrInvalid, i, err))
			continue
		}
		c = c.WithPositions(cs.Positions)
		if err := functions.CheckName("chain", c.Name); err != nil {
			faults = append(faults, err)
		}
		if names[c.Name] {
			faults = append(faults, fmt.Errorf("%w: chain %q is there twice", functions.ErrInvalid, c.Name))
		}
		names[c.Name] = true
		b.chains = append(b.chains, c)
	}
	return b, errors.Join(faults...)
}

// strict decodes one JSON value whose properties are all known.
func strict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("more follows after the JSON")
	}
	return nil
}

// checkBlobs returns an error that joins all blobs that are missing or of another size.
func (s *Server) checkBlobs(ctx context.Context, b *bundle) error {
	var faults []error
	check := func(what string, d functions.Digest, want int64) {
		r, size, err := s.deps.Blobs.Open(ctx, d)
		switch {
		case errors.Is(err, functions.ErrNotFound):
			faults = append(faults, fmt.Errorf("%w: %s: blob %s is not here; PUT /blobs/%s first", functions.ErrInvalid, what, d.Short(), d.Hex()))
			return
		case err != nil:
			faults = append(faults, fmt.Errorf("%s: blob %s: %w", what, d.Short(), err))
			return
		}
		_ = r.Close() // nothing was written
		switch {
		case size == 0:
			faults = append(faults, fmt.Errorf("%w: %s: blob %s is empty; build it again", functions.ErrInvalid, what, d.Short()))
		case want != 0 && size != want:
			faults = append(faults, fmt.Errorf("%w: %s: blob %s has %d bytes, not %d", functions.ErrInvalid, what, d.Short(), size, want))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.manifests)) {
		check("function "+name, b.manifests[name].Artifact, 0)
	}
	for _, name := range slices.Sorted(maps.Keys(b.models)) {
		if m := b.models[name]; m.File != "" {
			check("model "+name, m.File, m.Size)
		}
	}
	return errors.Join(faults...)
}

// resolveBundle compiles every chain against the functions and models of the bundle and, for those that it does not
// bring, what is deployed. It reads the revisions of all aliases first, so that what moves later is seen.
func (s *Server) resolveBundle(ctx context.Context, b *bundle) (*resolved, error) {
	known, models := maps.Clone(b.manifests), maps.Clone(b.models)
	r := &resolved{}
	seen := func(prefix, name string) (functions.Alias, error) {
		a, err := s.deps.Catalogue.Alias(ctx, prefix+name)
		if errors.Is(err, functions.ErrNotFound) {
			return functions.Alias{Name: prefix + name}, nil
		}
		return a, err
	}
	chainAliases := make([]functions.Alias, len(b.chains))
	for i, c := range b.chains {
		var err error
		if chainAliases[i], err = seen(chainPrefix, c.Name); err != nil {
			return nil, err
		}
		s.chains.learn(chainAliases[i])
	}
	for _, name := range slices.Sorted(maps.Keys(b.manifests)) {
		a, err := seen(functionPrefix, name)
		if err != nil {
			return nil, err
		}
		r.move(a, b.manifests[name].Digest())
	}
	for _, name := range slices.Sorted(maps.Keys(b.models)) {
		a, err := seen(modelPrefix, name)
		if err != nil {
			return nil, err
		}
		r.move(a, b.models[name].Digest())
	}
	for _, c := range b.chains {
		if err := s.learnFunctions(ctx, c, known); err != nil {
			return nil, err
		}
	}
	for _, m := range known {
		if err := s.learnModels(ctx, m, models); err != nil {
			return nil, err
		}
	}

	var faults []error
	for _, c := range b.chains {
		g, err := chains.NewGraph(c, known, models)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		plan, err := compile(g, known)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		r.graphs, r.plans = append(r.graphs, g), append(r.plans, plan)
	}
	for _, name := range slices.Sorted(maps.Keys(b.manifests)) {
		for _, model := range b.manifests[name].Uses.Models {
			if models[model] == nil {
				faults = append(faults, fmt.Errorf("%w: function %s uses model %q, which is not deployed; deploy the model with it", functions.ErrInvalid, name, model))
			}
		}
	}
	if len(faults) > 0 {
		return nil, invalid(errors.Join(faults...))
	}
	for i, g := range r.graphs {
		r.move(chainAliases[i], g.Hash())
	}
	r.fns, r.models = prepareSet(b, r.graphs, models)
	return r, nil
}

// invalid makes all faults of a deploy one error of the caller's, whichever sentinels they wrap.
func invalid(err error) error {
	return &functions.Failure{Code: functions.CodeOf(functions.ErrInvalid), Message: err.Error()}
}

// move notes that the alias a has to point to d.
func (r *resolved) move(a functions.Alias, d functions.Digest) {
	if a.Digest == d {
		return
	}
	a.Digest = d
	r.aliases = append(r.aliases, a)
}

// learnFunctions adds the deployed functions that c names and known lacks.
func (s *Server) learnFunctions(ctx context.Context, c spec.Chain, known map[string]*functions.Manifest) error {
	var names []string
	c.Walk(func(st spec.Step) {
		if st.Func != "" && known[st.Func] == nil && functions.CheckName("function", st.Func) == nil {
			names = append(names, st.Func)
		}
	})
	for _, name := range names {
		a, err := s.deps.Catalogue.Alias(ctx, functionPrefix+name)
		if errors.Is(err, functions.ErrNotFound) {
			continue // NewGraph says so, with the position
		}
		if err != nil {
			return err
		}
		if known[name], err = s.chains.manifest(ctx, a.Digest); err != nil {
			return err
		}
	}
	return nil
}

// learnModels adds the deployed models that m uses and models lacks.
func (s *Server) learnModels(ctx context.Context, m *functions.Manifest, models map[string]*functions.Model) error {
	for _, name := range m.Uses.Models {
		if models[name] != nil {
			continue
		}
		a, err := s.deps.Catalogue.Alias(ctx, modelPrefix+name)
		if errors.Is(err, functions.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if models[name], err = s.chains.model(ctx, a.Digest); err != nil {
			return err
		}
	}
	return nil
}

// prepareSet returns every version that the deploy brings or its chains reach, sorted by name.
func prepareSet(b *bundle, graphs []*chains.Graph, known map[string]*functions.Model) (fns, models []functions.Ref) {
	f, m := map[string]functions.Ref{}, map[string]functions.Ref{}
	for name, manifest := range b.manifests {
		f[name] = manifest.Ref()
		for _, model := range manifest.Uses.Models {
			m[model] = known[model].Ref()
		}
	}
	for name, model := range b.models {
		m[name] = model.Ref()
	}
	for _, g := range graphs {
		maps.Copy(f, g.Functions)
		maps.Copy(m, g.Models)
	}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		fns = append(fns, f[name])
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		models = append(models, m[name])
	}
	return fns, models
}

// storeRecords stores what aliases will point to. Records are immutable, so nobody sees them before an alias moves.
func (s *Server) storeRecords(ctx context.Context, b *bundle, r *resolved) error {
	put := func(kind functions.RecordKind, name string, data []byte) error {
		if _, err := s.deps.Catalogue.PutRecord(ctx, kind, data); err != nil {
			return fmt.Errorf("store %s %s: %w", kind, name, err)
		}
		return nil
	}
	for name, m := range b.manifests {
		if err := put(functions.RecordManifest, name, m.Canonical()); err != nil {
			return err
		}
	}
	for name, m := range b.models {
		if err := put(functions.RecordModel, name, m.Canonical()); err != nil {
			return err
		}
	}
	for _, g := range r.graphs {
		if err := put(functions.RecordGraph, g.Spec.Name, g.Canonical()); err != nil {
			return err
		}
	}
	return nil
}

// moveAliases moves what has to move, functions and models first: a chain never points to more than they do. It fills
// in the chains of the reply. A chain's graph is pinned, so a failure half way leaves every chain whole.
func (s *Server) moveAliases(ctx context.Context, r *resolved, resp *catenaryv1.DeployResponse) error {
	moved := map[string]functions.Alias{}
	for _, a := range r.aliases {
		now, err := s.deps.Catalogue.SetAlias(ctx, a.Name, a.Digest, a.Rev)
		if err != nil {
			return fmt.Errorf("move %s: %w", a.Name, err)
		}
		moved[a.Name] = now
		s.chains.learn(now)
		s.log.Info("deployed", "name", a.Name, "digest", a.Digest, "rev", now.Rev)
	}
	for i, g := range r.graphs {
		s.chains.keep(r.plans[i])
		a, changed := moved[chainPrefix+g.Spec.Name]
		if !changed {
			var err error
			if a, err = s.deps.Catalogue.Alias(ctx, chainPrefix+g.Spec.Name); err != nil {
				return err
			}
		}
		resp.Chains = append(resp.Chains, deployedChain(r.plans[i], a.Rev, changed))
	}
	return nil
}
