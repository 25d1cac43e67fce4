package main

import (
	"context"
	"io"
	"os"
	"os/exec"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// pluginArg marks a process that is a bare plugin: it is the bench itself, started anew.
const pluginArg = "echo-plugin-in-a-new-process"

// bareShake is what the two sides of a bare plugin know of each other.
var bareShake = goplugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "CATENARY_BENCH", MagicCookieValue: "echo"}

// bareEcho is a go-plugin with one unary method that sends back some bytes: nothing of ours.
type bareEcho struct {
	goplugin.NetRPCUnsupportedPlugin
}

const bareMethod = "/bench.Echo/Echo"

// GRPCServer implements goplugin.GRPCPlugin.
func (bareEcho) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Echo", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.BytesValue)
			return in, decode(in)
		}}},
	}, struct{}{})
	return nil
}

// GRPCClient implements goplugin.GRPCPlugin.
func (bareEcho) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return conn, nil
}

func servePlugin() {
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: bareShake, Plugins: goplugin.PluginSet{"echo": bareEcho{}}, GRPCServer: goplugin.DefaultGRPCServer,
		Logger: hclog.NewNullLogger(),
	})
}

// startPlugins starts bare plugins, each in a process of its own and without TLS, and returns a peer that calls them one
// after the other.
func startPlugins() (p peer, stop func(), err error) {
	var conns []*grpc.ClientConn
	var clients []*goplugin.Client
	stop = func() {
		for _, c := range clients {
			c.Kill()
		}
	}
	self, err := os.Executable()
	if err != nil {
		return p, stop, err
	}
	for range services {
		c := goplugin.NewClient(&goplugin.ClientConfig{
			HandshakeConfig: bareShake, Plugins: goplugin.PluginSet{"echo": bareEcho{}}, Cmd: exec.Command(self, pluginArg),
			AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC}, Logger: hclog.NewNullLogger(), SyncStderr: io.Discard,
		})
		clients = append(clients, c)
		rpc, err := c.Client()
		if err != nil {
			return p, stop, err
		}
		conn, err := rpc.Dispense("echo")
		if err != nil {
			return p, stop, err
		}
		conns = append(conns, conn.(*grpc.ClientConn))
	}
	return peer{"bare go-plugin, three processes", func(ctx context.Context, data []byte) ([]byte, error) {
		for _, conn := range conns {
			out := new(wrapperspb.BytesValue)
			if err := conn.Invoke(ctx, bareMethod, wrapperspb.Bytes(data), out); err != nil {
				return nil, err
			}
			data = out.Value
		}
		return data, nil
	}}, stop, nil
}
