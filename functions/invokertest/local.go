package invokertest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// Function is a function in Go, with the manifest under which it is called.
type Function struct {
	Manifest *functions.Manifest
	// Serve serves one call. [TurnsOf] its context tells which turns are over.
	Serve func(ctx context.Context, in functions.Source, out functions.Sink) error
}

// Setup is what an Invoker under test has to serve.
type Setup struct {
	Functions []Function
	// Woken has to be called once each time that an instance of a function starts. It may be called from many
	// goroutines; nil is allowed.
	Woken func(functions.Ref)
}

// New returns a function of any value with the given name and body.
func New(name string, serve func(ctx context.Context, in functions.Source, out functions.Sink) error) Function {
	port := functions.Port{Schema: &functions.Schema{}}
	return Function{
		Manifest: &functions.Manifest{
			Name: name, Kind: functions.KindWASM, Artifact: functions.DigestOf([]byte(name)), In: port,
			Out:    functions.Port{Schema: port.Schema, Stream: true},
			Limits: functions.Limits{OutBytes: 1 << 30}, // back-pressure is to be seen, not this
		},
		Serve: serve,
	}
}

// Local calls functions in this process. Each starts once and stays.
type Local struct {
	woken func(functions.Ref)
	fns   map[functions.Ref]*localFunction
}

type localFunction struct {
	Function
	start sync.Once
}

var _ functions.Invoker = (*Local)(nil)

// NewLocal returns an Invoker of the functions of s.
func NewLocal(s Setup) *Local {
	l := &Local{woken: s.Woken, fns: map[functions.Ref]*localFunction{}}
	if l.woken == nil {
		l.woken = func(functions.Ref) {}
	}
	for _, f := range s.Functions {
		l.fns[f.Manifest.Ref()] = &localFunction{Function: f}
	}
	return l
}

func (l *Local) started(ref functions.Ref) (*localFunction, time.Duration, error) {
	f := l.fns[ref]
	if f == nil {
		return nil, 0, fmt.Errorf("%w: function %s", functions.ErrNotFound, ref)
	}
	begin := time.Now()
	f.start.Do(func() { l.woken(ref) })
	return f, time.Since(begin), nil
}

// Wake starts the functions. Models are somebody else's.
func (l *Local) Wake(ctx context.Context, fns, _ []functions.Ref) error {
	for _, ref := range fns {
		if _, _, err := l.started(ref); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Invoke calls the function's Serve. A panic of it is functions.ErrTrap.
func (l *Local) Invoke(ctx context.Context, call functions.Call, in functions.Source, out functions.Sink) (t functions.Timing, err error) {
	f, wake, err := l.started(call.Ref)
	if err != nil {
		return t, err
	}
	begin := time.Now()
	m := &meter{in: in, out: out, begin: begin}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: panic: %v", functions.ErrTrap, p)
		}
		t = functions.Timing{
			Wake: wake, FirstItem: time.Duration(m.first.Load()), Total: time.Since(begin),
			BytesIn: m.bytesIn.Load(), BytesOut: m.bytesOut.Load(),
		}
		if err != nil {
			err = &functions.InvokeError{Func: call.Ref.Name, Version: call.Ref.Digest, Err: err}
		}
	}()
	return t, f.Serve(WithTurns(ctx, call.Turns), m, m)
}

type turnsKey struct{}

// WithTurns returns the context of a call whose turns these are: an Invoker that calls Serve passes it.
func WithTurns(ctx context.Context, turns *functions.Turns) context.Context {
	return context.WithValue(ctx, turnsKey{}, turns)
}

// TurnsOf returns the turns of a call; nil if none is ever over.
func TurnsOf(ctx context.Context) *functions.Turns {
	turns, _ := ctx.Value(turnsKey{}).(*functions.Turns)
	return turns
}

// meter counts what goes in and out of a call.
type meter struct {
	in                       functions.Source
	out                      functions.Sink
	begin                    time.Time
	first, bytesIn, bytesOut atomic.Int64
}

func (m *meter) Recv(ctx context.Context) (functions.Item, error) {
	it, err := m.in.Recv(ctx)
	m.bytesIn.Add(it.Size())
	return it, err
}

func (m *meter) Send(ctx context.Context, it functions.Item) error {
	m.first.CompareAndSwap(0, int64(max(time.Since(m.begin), 1)))
	m.bytesOut.Add(it.Size())
	return m.out.Send(ctx, it)
}
