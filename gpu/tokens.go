package gpu

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/gpuv1"
)

// tokenBuffer is how many tokens of an answer are taken from the worker ahead of the reader: about one long spoken
// answer, so that a reader at the speed of speech does not keep the model from others.
const tokenBuffer = 256

// answer is the [functions.Tokens] of one call. Its goroutine takes the tokens from the worker, frees the model after
// the last one and ends then.
type answer struct {
	tokens chan functions.Token // closed at the end
	cancel context.CancelCauseFunc
	err    error // why it ended: io.EOF if the answer is whole. Read it after tokens is closed.

	once   sync.Once
	closed chan struct{}
}

// answer starts the call that holds l.
func (r *Runtime) answer(ctx context.Context, l *lease, req functions.Generation) (functions.Tokens, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	a := &answer{tokens: make(chan functions.Token, tokenBuffer), cancel: cancel, closed: make(chan struct{})}
	if err := r.enter(); err != nil {
		cancel(nil)
		r.release(l)
		return nil, l.model.errorf("%w", err)
	}
	go func() { // joined by Run, and by Close
		defer r.calls.Done()
		err := r.pump(ctx, l, req, a.tokens)
		r.release(l)
		cancel(nil)
		a.err = err
		close(a.tokens)
	}()
	return a, nil
}

// pump carries one answer from the worker to out. It returns io.EOF when the answer is whole.
func (r *Runtime) pump(ctx context.Context, l *lease, req functions.Generation, out chan<- functions.Token) error {
	stream, err := l.worker.client.Generate(ctx, request(l.model, req))
	for err == nil {
		var res *gpuv1.GenerateResponse
		if res, err = stream.Recv(); err != nil {
			break
		}
		select {
		case out <- functions.Token{Text: res.GetText(), Finish: res.GetFinish()}:
		case <-ctx.Done():
			err = drain(stream)
		case <-r.done:
			return l.model.errorf("%w", errStopping)
		}
	}
	switch {
	case err == io.EOF:
		return io.EOF
	case ctx.Err() != nil:
		return l.model.errorf("%w", context.Cause(ctx))
	}
	select {
	case <-r.done: // the worker ends because we do
		return l.model.errorf("%w", errStopping)
	default:
	}
	return r.explain(ctx, l.worker, l.model, err)
}

// drain waits for the end of a stream whose context has ended, which frees what gRPC holds for it.
func drain(stream grpc.ServerStreamingClient[gpuv1.GenerateResponse]) error {
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
}

// explain turns an error of a call to w, made with ctx, into one for callers. If w did not answer it is ended for good, so that the
// next call finds another.
func (r *Runtime) explain(ctx context.Context, w *worker, m *model, err error) error {
	err = gpuv1.ErrorOf(ctx, err)
	if !errors.Is(err, gpuv1.ErrBroken) {
		return m.errorf("%w", err)
	}
	w.kill()
	<-w.done
	r.lost(w)
	return m.errorf("%w: the model worker ended during the call (%s); it is started again for the next one", functions.ErrUnavailable, w.exit())
}

func request(m *model, req functions.Generation) *gpuv1.GenerateRequest {
	out := &gpuv1.GenerateRequest{
		Id:          string(m.ref.Digest),
		MaxTokens:   int32(min(max(req.MaxTokens, -1), 1<<30)),
		Temperature: req.Temperature,
		TopP:        req.TopP,
		Seed:        req.Seed,
	}
	for _, msg := range req.Messages {
		out.Messages = append(out.Messages, &gpuv1.Message{Role: msg.Role, Content: msg.Content})
	}
	return out
}

// Recv returns the next token. It returns io.EOF after the last one, why the answer broke off, the cause of ctx, or
// an error wrapping functions.ErrClosed after Close.
func (a *answer) Recv(ctx context.Context) (functions.Token, error) {
	select {
	case <-a.closed:
		return functions.Token{}, functions.ErrClosed
	default:
	}
	select {
	case t, ok := <-a.tokens:
		if !ok {
			return functions.Token{}, a.err
		}
		return t, nil
	case <-ctx.Done():
		return functions.Token{}, context.Cause(ctx)
	case <-a.closed:
		return functions.Token{}, functions.ErrClosed
	}
}

// Close ends the answer and returns when the model is free again.
func (a *answer) Close() error {
	a.once.Do(func() {
		close(a.closed)
		a.cancel(functions.ErrClosed)
		for range a.tokens { // until its goroutine has ended
		}
	})
	return nil
}
