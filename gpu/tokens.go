package gpu

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/gpuv1"
)

// window is how many tokens of an answer may be decoded ahead of the reader: the credit of the edge between a model and
// who asks it. The words of a few seconds of speech, so that a reader at that speed never finds it empty.
const window = 32

// answer is the [functions.Tokens] of one call. Its goroutine takes the tokens from the worker, frees the slot after the
// last one and ends then.
type answer struct {
	tokens chan functions.Token // closed at the end
	cancel context.CancelCauseFunc
	err    error // why it ended: io.EOF if the answer is whole. Read it after tokens is closed.

	taken atomic.Int64  // tokens that the reader has taken, and for which no credit was granted yet
	room  chan struct{} // holds one: taken has grown

	once   sync.Once
	closed chan struct{}
}

// answer starts the call that holds l.
func (r *Runtime) answer(ctx context.Context, l *lease, req functions.Generation) (functions.Tokens, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	a := &answer{tokens: make(chan functions.Token, window), cancel: cancel, room: make(chan struct{}, 1), closed: make(chan struct{})}
	if err := r.enter(); err != nil {
		cancel(nil)
		r.release(l)
		return nil, l.model.errorf("%w", err)
	}
	go func() { // joined by Run, and by Close
		defer r.calls.Done()
		err := r.pump(ctx, l, req, a)
		r.release(l)
		cancel(nil)
		a.err = err
		close(a.tokens)
	}()
	return a, nil
}

// pump carries one answer from the worker to its reader. It returns io.EOF when the answer is whole.
func (r *Runtime) pump(ctx context.Context, l *lease, req functions.Generation, a *answer) error {
	ctx, cancel := context.WithCancel(ctx)
	var granting sync.WaitGroup
	defer granting.Wait()
	defer cancel()
	stream, err := generate(ctx, l.worker, request(l, req))
	if err == nil {
		granting.Go(func() { a.grant(ctx, stream) })
	}
	var took spent
	for err == nil {
		var res *gpuv1.GenerateResponse
		if res, err = stream.Recv(); err != nil {
			break
		}
		r.count(l, res)
		took.add(res)
		select {
		case a.tokens <- functions.Token{Text: res.GetText(), Finish: res.GetFinish()}:
		case <-ctx.Done():
			err = drain(stream)
		case <-r.done:
			return l.model.errorf("%w", errStopping)
		}
	}
	gpuv1.Settle(ctx, err)
	switch {
	case err == io.EOF:
		r.finished(l, took)
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

// generate opens a stream with req as its first message.
func generate(ctx context.Context, w *worker, req *gpuv1.GenerateRequest) (gpuv1.Worker_GenerateClient, error) {
	stream, err := w.client.Generate(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(req); err != nil && err != io.EOF { // at EOF, Recv says why
		return nil, err
	}
	return stream, nil
}

// grant tells the worker of the tokens that were taken, until the answer ends. Half a window at a time: the other half
// keeps the decoder busy, and few messages are sent.
func (a *answer) grant(ctx context.Context, stream gpuv1.Worker_GenerateClient) {
	for {
		select {
		case <-a.room:
		case <-ctx.Done():
			return
		}
		n := a.taken.Load()
		if n < window/2 {
			continue
		}
		a.taken.Add(-n)
		if stream.Send(&gpuv1.GenerateRequest{Credit: uint32(n)}) != nil {
			return // the answer has ended, and Recv says how
		}
	}
}

// count adds up what a message of an answer says: of the prompt, which the first does, and of the device.
func (r *Runtime) count(l *lease, res *gpuv1.GenerateResponse) {
	m, used := l.model, deviceTime(res)
	r.metrics.worked(m.ref.Name, used)
	r.metrics.decoded(m.ref.Name, res.GetBatch())
	r.mu.Lock()
	defer r.mu.Unlock()
	m.promptTokens += int64(res.GetPromptTokens())
	m.reusedTokens += int64(res.GetReusedTokens())
	m.shares.Charge(l.loan, used, time.Now())
}

// deviceTime is what the worker says; it could be anything.
func deviceTime(res *gpuv1.GenerateResponse) time.Duration {
	return max(0, time.Duration(res.GetDeviceNanos()))
}

// spent is the device time of one answer.
type spent struct {
	first, rest time.Duration // until the first token, and for all others
	tokens      int
}

func (s *spent) add(res *gpuv1.GenerateResponse) {
	if s.tokens++; s.tokens == 1 {
		s.first = deviceTime(res)
		return
	}
	s.rest += deviceTime(res)
}

// drain waits for the end of a stream whose context has ended, which frees what gRPC holds for it.
func drain(stream gpuv1.Worker_GenerateClient) error {
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
	r.lost(m.device, w)
	return m.errorf("%w: the model worker ended during the call (%s); it is started again for the next one", functions.ErrUnavailable, w.exit())
}

func request(l *lease, req functions.Generation) *gpuv1.GenerateRequest {
	out := gpuv1.NewGenerateRequest(req)
	out.Id, out.Slot, out.Session, out.Credit = string(l.model.ref.Digest), int32(l.slot), l.session, window
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
		a.taken.Add(1)
		select {
		case a.room <- struct{}{}:
		default:
		}
		return t, nil
	case <-ctx.Done():
		return functions.Token{}, context.Cause(ctx)
	case <-a.closed:
		return functions.Token{}, functions.ErrClosed
	}
}

// Close ends the answer and returns when its slot is free again.
func (a *answer) Close() error {
	a.once.Do(func() {
		close(a.closed)
		a.cancel(functions.ErrClosed)
		for range a.tokens { // until its goroutine has ended
		}
	})
	return nil
}
