package gpu

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/gpuv1"
)

// Prepare proves that the model can answer, in a worker of its own: it loads the file and lets it decode one token. An
// engine that a broken file takes down so takes nobody's calls along. It returns at once for a model that was loaded
// before, and leaves the model cold. One preparation runs at a time. An endpoint is asked for one token, as any call asks.
//
// It returns an error wrapping [functions.ErrInvalid] if the file is broken, [functions.ErrNoDevice] if there is no
// engine, [functions.ErrColdStart] if the worker did not start, and of an endpoint what Generate and its tokens return.
func (r *Runtime) Prepare(ctx context.Context, ref functions.Ref) error {
	if err := r.enter(); err != nil {
		return fmt.Errorf("model %s: %w", ref.Name, err)
	}
	defer r.calls.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() { // joined below
		defer close(watched)
		select {
		case <-r.done:
			cancel(errStopping)
		case <-ctx.Done():
		}
	}()
	defer func() {
		cancel(nil)
		<-watched
	}()
	if err := r.prepare(ctx, ref); err != nil {
		return fmt.Errorf("model %s: %w", ref.Name, err)
	}
	return nil
}

func (r *Runtime) prepare(ctx context.Context, ref functions.Ref) error {
	select {
	case <-r.trial:
		defer func() { r.trial <- struct{}{} }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	r.mu.Lock()
	m := r.models[ref.Digest]
	proven := m != nil && m.proven
	r.mu.Unlock()
	if proven {
		return nil
	}
	spec, err := r.cfg.Models.Model(ctx, ref)
	if err != nil {
		return err
	}
	if spec.Engine == functions.EngineOpenAI {
		return r.prepareEndpoint(ctx, ref)
	}
	path, err := r.cfg.Models.ModelFile(ctx, spec)
	if err != nil {
		return err
	}
	if err := r.local.check(); err != nil {
		return err
	}
	w, err := r.local.launch(ctx)
	if err != nil {
		return fmt.Errorf("%w: model worker: %w", functions.ErrColdStart, err)
	}
	defer w.stop()
	if w.unavailable != "" {
		return noEngine(w)
	}
	m = &model{ref: ref, spec: spec, device: r.local, tier: TierCold}
	if err := try(ctx, w, r.loadRequest(m, path)); err != nil {
		return err
	}
	m = r.keep(m)
	r.mu.Lock()
	m.proven = true
	r.mu.Unlock()
	return nil
}

// oneToken is what a model is asked to prove that it can answer.
func oneToken() functions.Generation {
	return functions.Generation{Messages: []functions.Message{{Role: "user", Content: "hello"}}, MaxTokens: 1}
}

// prepareEndpoint asks an endpoint's model for one token.
func (r *Runtime) prepareEndpoint(ctx context.Context, ref functions.Ref) error {
	tokens, err := r.Generate(ctx, ref, oneToken())
	if err != nil {
		return err
	}
	defer tokens.Close()
	for err == nil {
		_, err = tokens.Recv(ctx)
	}
	if err != io.EOF {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.models[ref.Digest].proven = true
	return nil
}

// try loads a model into w and asks it for one token.
func try(ctx context.Context, w *worker, req *gpuv1.LoadRequest) error {
	_, err := w.client.Load(ctx, req)
	if err == nil {
		var stream gpuv1.Worker_GenerateClient
		one := gpuv1.NewGenerateRequest(oneToken())
		one.Id, one.Credit = req.GetId(), 1
		stream, err = generate(ctx, w, one)
		for err == nil {
			_, err = stream.Recv()
		}
	}
	if err == io.EOF {
		return nil
	}
	gpuv1.Settle(ctx, err)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err = gpuv1.ErrorOf(ctx, err); !errors.Is(err, gpuv1.ErrBroken) {
		return err
	}
	w.kill()
	<-w.done
	if w.killed() {
		return fmt.Errorf("%w: the worker that tried the model was ended from outside (%s), perhaps for want of memory", functions.ErrUnavailable, w.exit())
	}
	return fmt.Errorf("%w: the engine crashed on the model's file (%s)", functions.ErrInvalid, w.exit())
}
