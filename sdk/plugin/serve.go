package plugin

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"runtime/debug"
	"strconv"

	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sandbox/plugin/pluginv1"
	"github.com/catenary-run/catenary/sdk"
	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// Option changes how [Serve] and [ServeDuplex] serve.
type Option func(*options)

type options struct {
	start func() error
}

// OnStart makes Serve call start once, before the process reports that it is ready. An error ends the process; its text
// is what the node says of the failed start.
func OnStart(start func() error) Option {
	return func(o *options) { o.start = start }
}

// Serve serves impl until the node ends the process. It does not return: the process exits with 0 when it has been told
// to end or has described itself, with 1 when it can't serve.
func Serve[I, O any](f sdk.Func[I, O], impl func(context.Context, I) (O, error), opts ...Option) {
	contract, err := f.Describe()
	if err != nil {
		exit(err)
	}
	serve(contract, sdk.NewHandler(value.Codec{}, f, impl), opts)
}

// ServeDuplex is [Serve] for an implementation that reads its input and sends its output at a pace of its own.
func ServeDuplex[I, O any](f sdk.Func[sdk.Stream[I], sdk.Stream[O]], impl sdk.Duplex[I, O], opts ...Option) {
	contract, err := f.Describe()
	if err != nil {
		exit(err)
	}
	serve(contract, sdk.NewDuplexHandler(value.Codec{}, f, impl), opts)
}

func serve(contract sdk.FuncDescription, handle sdk.Handler, opts []Option) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	if sdk.Describing() {
		if err := (sdk.Description{Functions: []sdk.FuncDescription{contract}}).Print(os.Stdout); err != nil {
			exit(err)
		}
		os.Exit(0)
	}
	if os.Getenv(pluginv1.CookieKey) != pluginv1.CookieValue {
		exit(fmt.Errorf("this program is a plugin of Catenary: name it in catenary.yaml, and run it with `catenary deploy` and `catenary run`"))
	}
	limitMemory(os.Getenv(pluginv1.MemEnv))
	if o.start != nil {
		if err := start(o.start); err != nil {
			exit(fmt.Errorf("function %s: start: %w", contract.Name, err))
		}
	}
	srv := &server{contract: contract, handle: handle, stderr: os.Stderr}
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: goplugin.HandshakeConfig{
			ProtocolVersion: pluginv1.ProtocolVersion, MagicCookieKey: pluginv1.CookieKey, MagicCookieValue: pluginv1.CookieValue,
		},
		Plugins:    goplugin.PluginSet{pluginv1.PluginName: service{srv: srv}},
		GRPCServer: srv.newGRPC,
		Logger:     hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stderr, JSONFormat: true}),
	})
	srv.readers.Wait()
	os.Exit(0)
}

// start runs f with standard output turned to standard error: the first line on standard output is the handshake's.
func start(f func() error) error {
	stdout := os.Stdout
	os.Stdout = os.Stderr
	defer func() { os.Stdout = stdout }()
	return f()
}

func exit(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// limitMemory makes the garbage collector work harder near the limit, so that garbage alone does not end the process.
func limitMemory(bytes string) {
	n, err := strconv.ParseInt(bytes, 10, 64)
	if err == nil && n > 0 {
		debug.SetMemoryLimit(n - n/8) // an eighth is left for what the collector does not see
	}
}

// windowBytes is how far a stream may run ahead of its reader, in each direction. It is fixed, since gRPC would
// otherwise let it grow with the speed of the connection.
const windowBytes = 256 << 10

// newGRPC makes the server. The node bounds what it sends, so that here no second limit is needed.
func (s *server) newGRPC(opts []grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append(opts,
		grpc.MaxRecvMsgSize(math.MaxInt32),
		grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.InitialWindowSize(windowBytes),
		grpc.InitialConnWindowSize(2*windowBytes),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			s.output.Do(s.takeOutput)
			return next(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			s.output.Do(s.takeOutput)
			return next(srv, stream)
		}))...)
}

// takeOutput undoes what go-plugin does to standard output and standard error: it sends them over the connection,
// where they would come later than the end of the call that wrote them.
func (s *server) takeOutput() { os.Stdout, os.Stderr = s.stderr, s.stderr }

// service is the server as go-plugin wants it.
type service struct {
	goplugin.NetRPCUnsupportedPlugin
	srv *server
}

func (s service) GRPCServer(_ *goplugin.GRPCBroker, g *grpc.Server) error {
	pluginv1.RegisterPluginServer(g, s.srv)
	return nil
}

func (service) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, io.ErrClosedPipe // this side has no client
}
