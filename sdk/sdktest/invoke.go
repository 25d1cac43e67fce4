package sdktest

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sdk"
)

// binding is a function with a Go func in the place of its artifact.
type binding struct {
	name    string
	in, out functions.Port
	turns   bool
	err     error // of the contract
	handler sdk.Handler
}

// Bind implements f with a Go func, which may use what package sdk offers to implementations: blobs, models and the log.
func Bind[I, O any](f sdk.Func[I, O], impl func(context.Context, I) (O, error)) Option {
	d, err := f.Describe()
	return &binding{d.Name, d.In, d.Out, d.Turns, err, sdk.NewHandler(value.Codec{}, f, impl)}
}

// BindDuplex is [Bind] for a full-duplex implementation.
func BindDuplex[I, O any](f sdk.Func[sdk.Stream[I], sdk.Stream[O]], impl sdk.Duplex[I, O]) Option {
	d, err := f.Describe()
	return &binding{d.Name, d.In, d.Out, d.Turns, err, sdk.NewDuplexHandler(value.Codec{}, f, impl)}
}

func (f *binding) apply(b *bench) error {
	if f.err != nil {
		return f.err
	}
	if b.functions[f.name] != nil {
		return fmt.Errorf("function %s is bound twice", f.name)
	}
	b.functions[f.name] = f
	return nil
}

// Invoke implements functions.Invoker.
func (b *bench) Invoke(ctx context.Context, call functions.Call, in functions.Source, out functions.Sink) (functions.Timing, error) {
	f := b.functions[call.Ref.Name]
	if f == nil || b.manifests[call.Ref.Name].Digest() != call.Ref.Digest {
		return functions.Timing{}, fmt.Errorf("%w: function %s", functions.ErrNotFound, call.Ref)
	}
	e := &env{bench: b, call: call}
	start := time.Now()
	var timing functions.Timing
	var bytesIn atomic.Int64 // input and output go side by side
	source := sourceFunc(func(ctx context.Context) (functions.Item, error) {
		it, err := in.Recv(ctx)
		bytesIn.Add(it.Size())
		e.blobs.keep(it.Blobs)
		return it, err
	})
	sink := functions.SinkFunc(func(ctx context.Context, it functions.Item) error {
		sent, err := b.item(f.out.Schema, it.Value, &e.blobs)
		if err != nil {
			return fmt.Errorf("function %s: output: %w", f.name, err)
		}
		if timing.BytesOut == 0 {
			timing.FirstItem = time.Since(start)
		}
		timing.BytesOut += sent.Size()
		sent.Turn, sent.Time = it.Turn, it.Time
		return out.Send(ctx, sent)
	})
	err := e.serve(sdk.WithEnv(ctx, e), f, source, sink)
	timing.Total, timing.BytesIn = time.Since(start), bytesIn.Load()
	if err != nil {
		err = &functions.InvokeError{Func: f.name, Version: call.Ref.Digest, Err: err}
	}
	return timing, err
}

// Wake implements functions.Invoker: a Go func is always awake.
func (b *bench) Wake(context.Context, []functions.Ref, []functions.Ref) error { return nil }

type sourceFunc func(ctx context.Context) (functions.Item, error)

func (f sourceFunc) Recv(ctx context.Context) (functions.Item, error) { return f(ctx) }

// serve runs the func in a goroutine of its own and waits for it: a t.Fatal in it ends that goroutine, and must not
// end one of the executor.
func (e *env) serve(ctx context.Context, f *binding, in functions.Source, out functions.Sink) (err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = fmt.Errorf("%w: it ended its goroutine, as t.Fatal does", functions.ErrTrap)
		defer func() {
			if p := recover(); p != nil {
				e.bench.t.Logf("sdktest: function %s panicked: %v\n%s", f.name, p, debug.Stack())
				err = fmt.Errorf("%w: panic: %v", functions.ErrTrap, p)
			}
		}()
		err = e.classify(ctx, f.handler(ctx, in, out))
	}()
	<-done
	return err
}

// classify gives an error of the func itself the class that it has on a server.
func (e *env) classify(ctx context.Context, err error) error {
	if err == nil || functions.CodeOf(err) != functions.CodeInternal {
		return err
	}
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", functions.ErrFunction, err)
}
