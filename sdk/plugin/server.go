package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/plugin/pluginv1"
	"github.com/catenary-run/catenary/sdk"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// server is the plugin's half of the protocol.
type server struct {
	pluginv1.UnimplementedPluginServer
	contract sdk.FuncDescription
	handle   sdk.Handler
	stderr   *os.File // the process's own, whatever os.Stderr is
	output   sync.Once
	running  atomic.Int32
	readers  sync.WaitGroup // of the inputs that are streams

	mu    sync.Mutex // guards calls
	calls map[string]runningCall
}

// runningCall is a call that End can end.
type runningCall struct {
	end   context.CancelCauseFunc
	ended chan struct{}
}

// Describe says what the process serves.
func (s *server) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.DescribeResponse, error) {
	in, err := json.Marshal(s.contract.In.Schema)
	if err != nil {
		return nil, err
	}
	out, err := json.Marshal(s.contract.Out.Schema)
	if err != nil {
		return nil, err
	}
	return &pluginv1.DescribeResponse{
		Name: s.contract.Name, InSchema: in, OutSchema: out, InStream: s.contract.In.Stream, OutStream: s.contract.Out.Stream,
		Turns: s.contract.Turns, Notices: s.contract.In.Stream,
	}, nil
}

// End ends the context of a call and returns when the implementation has, or the node waits no more.
func (s *server) End(ctx context.Context, req *pluginv1.EndRequest) (*pluginv1.EndResponse, error) {
	s.mu.Lock()
	call, running := s.calls[req.GetCall()]
	s.mu.Unlock()
	if running {
		call.end(&functions.Failure{Code: functions.Code(req.GetCode()), Message: req.GetMessage()})
		select {
		case <-call.ended:
		case <-ctx.Done():
		}
	}
	return &pluginv1.EndResponse{}, nil
}

// callContext returns the context of a call, which End may end until forget is called.
func (s *server) callContext(ctx context.Context) (_ context.Context, forget func()) {
	ctx, end := context.WithCancelCause(ctx)
	header, _ := metadata.FromIncomingContext(ctx)
	names := header.Get(pluginv1.CallHeader)
	if len(names) != 1 {
		return ctx, func() { end(nil) }
	}
	ctx = functions.Outlasted(ctx, pluginv1.EndGrace)
	if left := header.Get(pluginv1.LeftHeader); len(left) == 1 {
		if ms, err := strconv.ParseInt(left[0], 10, 64); err == nil {
			ctx = functions.ReportDeadline(ctx, time.Now().Add(time.Duration(ms)*time.Millisecond))
		}
	}
	call := runningCall{end, make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls = map[string]runningCall{}
	}
	s.calls[names[0]] = call
	return ctx, func() {
		s.mu.Lock()
		delete(s.calls, names[0])
		s.mu.Unlock()
		end(nil)
		close(call.ended)
	}
}

// Health says that the process can serve, and how many calls still run.
func (s *server) Health(context.Context, *pluginv1.HealthRequest) (*pluginv1.HealthResponse, error) {
	return &pluginv1.HealthResponse{Running: uint32(s.running.Load())}, nil
}

// Handle runs one call.
func (s *server) Handle(stream grpc.BidiStreamingServer[pluginv1.Item, pluginv1.Item]) error {
	s.running.Add(1)
	defer s.running.Add(-1)
	env := &env{log: s.stderr}
	in := newSource(stream, env, s.contract.In.Stream)
	out := &sink{stream: stream, env: env, input: in, schema: s.contract.Out.Schema}
	if s.contract.In.Stream {
		env.turns = functions.NewTurns()
		// It ends with the connection's side of the call, which is after this func: the server waits for it.
		s.readers.Go(in.run)
		done := make(chan struct{})
		var notices sync.WaitGroup
		notices.Go(func() { out.notify(done) })
		notices.Go(func() { functions.TellWaits(done, in.waits.Changed, in.waits.Waits, out.tellWaits) })
		defer notices.Wait()
		defer close(done)
	}
	ctx, forget := s.callContext(stream.Context())
	defer forget()
	ctx = sdk.WithEnv(ctx, env)
	err := s.guard(func() error { return s.handle(ctx, in, out) })
	if err != nil && ctx.Err() != nil && !errors.As(err, new(*crash)) {
		// Whatever the implementation made of it, the call was ended from outside.
		return status.FromContextError(ctx.Err()).Err()
	}
	return statusOf(err)
}

// crash is a panic of the implementation.
type crash struct{ value any }

func (c *crash) Error() string { return fmt.Sprintf("panic: %v", c.value) }

// guard turns a panic of call into a crash, and writes its stack to the log.
func (s *server) guard(call func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &crash{v}
			fmt.Fprintf(s.stderr, "%v\n%s", err, debug.Stack())
		}
	}()
	return call()
}

// maxReason bounds the text of an error on its way to the node: it travels in a header.
const maxReason = 8 << 10

// statusOf returns err as the status that ends the call.
func statusOf(err error) error {
	if err == nil {
		return nil
	}
	code := codes.Unknown
	switch {
	case errors.As(err, new(*crash)):
		code = codes.Internal
	case errors.Is(err, functions.ErrInvalid):
		code = codes.InvalidArgument
	case errors.Is(err, functions.ErrDenied):
		code = codes.PermissionDenied
	case errors.Is(err, functions.ErrInterrupted):
		code = codes.Aborted
	}
	reason := strings.ToValidUTF8(err.Error(), "\uFFFD")
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + fmt.Sprintf("... (%d bytes in all)", len(reason))
	}
	return status.Error(code, reason)
}
