package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/catenary-run/catenary/coldstart"
	"github.com/catenary-run/catenary/gateway"
	"github.com/catenary-run/catenary/gateway/remote"
	"github.com/catenary-run/catenary/gpu"
	"github.com/catenary-run/catenary/gpu/llama"
	"github.com/catenary-run/catenary/internal/project"
	"github.com/catenary-run/catenary/internal/store"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/plugin"
	"github.com/catenary-run/catenary/sandbox/wasm"
)

type serveCmd struct {
	Addr      string        `default:"127.0.0.1:8372" placeholder:"HOST:PORT" help:"Where to listen (${default}). Port 0 takes a free one."`
	Data      string        `type:"path" placeholder:"DIR" env:"CATENARY_DATA" help:"Folder for the store and the caches. Default: catenary in the user's data folder."`
	Store     string        `placeholder:"URL" env:"CATENARY_STORE" help:"Where catalogue and blobs are: a folder, or redis://HOST:PORT/DB. Default: in the data folder."`
	Role      string        `default:"all" enum:"all,gateway,node" help:"all: doors, pools and models. gateway: doors only, with --node. node: pools and models only."`
	Node      string        `placeholder:"URL" help:"The node that runs the functions, for --role gateway."`
	LlamaLib  string        `type:"path" placeholder:"DIR" env:"CATENARY_LLAMA_LIB" help:"Folder of libllama, from npm's @node-llama-cpp/linux-x64. Without it models are unavailable."`
	Endpoints string        `type:"path" placeholder:"FILE" env:"CATENARY_ENDPOINTS" help:"What this node knows of servers that models of engine openai name: keys, and commands that start them."`
	Insecure  bool          `help:"Listen on an address that is not loopback. There are no keys yet: whoever reaches it may do everything."`
	Idle      time.Duration `default:"5m" help:"How long unused instances and models are kept, where their manifests say nothing (${default})."`
	Drain     time.Duration `default:"10s" help:"How long runs may go on after SIGTERM (${default})."`
	Timeout   time.Duration `default:"60s" help:"The longest that a run may take whose answer is one message (${default})."`
	Silence   time.Duration `default:"5m" help:"The longest that a stream may go without an item, in or out (${default})."`
	Origin    []string      `placeholder:"URL" help:"Pages of these origins, such as https://app.example.com, may open WebSockets, too."`
	MaxBody   size          `default:"32MiB" placeholder:"SIZE" help:"The largest request body (${default}). Blobs have a limit of their own."`
	MaxMem    size          `default:"0B" placeholder:"SIZE" help:"Memory for what functions leave parked; 0B is a quarter of the machine's."`
}

// size is a count of bytes on the command line.
type size int64

// UnmarshalText reads a size such as 32MiB.
func (s *size) UnmarshalText(text []byte) error {
	n, err := project.ParseSize(string(text))
	*s = size(n)
	return err
}

func (c *serveCmd) validate() error {
	switch {
	case c.Role == "gateway" && c.Node == "":
		return fmt.Errorf("%w: --role gateway needs --node URL", errUsage)
	case c.Role != "gateway" && c.Node != "":
		return fmt.Errorf("%w: --node belongs to --role gateway", errUsage)
	case c.Idle <= 0 || c.Drain < 0 || c.Timeout <= 0 || c.Silence <= 0 || c.MaxBody <= 0:
		return fmt.Errorf("%w: --idle, --timeout, --silence and --max-body must be positive, --drain must not be negative", errUsage)
	}
	return nil
}

// Run serves until the process is told to stop.
func (c *serveCmd) Run(e *env) error {
	if err := c.validate(); err != nil {
		return err
	}
	// The port comes first: what can't be served leaves no folder behind. Who connects before it is served waits.
	listener, err := gateway.Listen(c.Addr, c.Insecure)
	if err != nil {
		return err
	}
	defer listener.Close()
	data, err := dataFolder(c.Data)
	if err != nil {
		return err
	}
	st, err := store.Open(c.Store, filepath.Join(data, "store"))
	if err != nil {
		return err
	}
	defer st.Close()
	if err := st.Ping(e.ctx); err != nil {
		return err
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	// What runs functions outlives the doors: runs that drain still need it.
	background, stopBackground := context.WithCancel(context.WithoutCancel(e.ctx))
	defer stopBackground()
	group, background := errgroup.WithContext(background)

	config := gateway.DefaultConfig()
	config.MaxBody, config.CallTimeout, config.Drain = int64(c.MaxBody), c.Timeout, c.Drain
	config.StreamIdle, config.Origins = c.Silence, c.Origin
	config.Insecure, config.NodeOnly = c.Insecure, c.Role == "node"
	deps := gateway.Deps{Catalogue: st, Blobs: st, Log: e.log, Metrics: metrics}
	deps.Checks = []gateway.Check{{Name: "the store " + st.String(), Ping: st.Ping}}
	c.warn(e.log, st)
	run := func(context.Context) error { return nil } // what a gateway has to run beside its doors
	if c.Role == "gateway" {
		n, err := remote.New(c.Node, nil)
		if err != nil {
			return err
		}
		deps.Node = n
		deps.Checks = append(deps.Checks, gateway.Check{Name: "the node " + n.String(), Ping: n.Ping})
	} else {
		release, err := lockData(data)
		if err != nil {
			return err
		}
		defer release()
		n, err := c.newNode(e.log, data, st, metrics)
		if err != nil {
			return err
		}
		run = n.run
		deps.Node = n
		deps.Services = append(deps.Services, remote.Handler(n))
	}
	server, err := gateway.New(config, deps)
	if err != nil {
		return err
	}
	// Nothing above has started anything: an error up to here leaves nothing to join.
	serving, stopServing := context.WithCancel(e.ctx)
	defer stopServing()
	group.Go(func() error { return run(background) })
	group.Go(func() error {
		defer stopBackground()
		fmt.Fprintf(e.stderr, "listening on http://%s\n", listener.Addr())
		return server.Serve(serving, listener)
	})
	group.Go(func() error {
		<-background.Done() // the node failed, or the doors are closed
		stopServing()
		return nil
	})
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// warn tells at once of what would otherwise show only when somebody deploys or asks a model.
func (c *serveCmd) warn(log *slog.Logger, st *store.Store) {
	if c.Role != "all" && c.Store == "" {
		log.Warn("there is no --store: gateway and node have to share one; give both the same redis://HOST:PORT/DB, or the same folder",
			"role", c.Role, "store", st.String())
	}
	if c.Role != "gateway" && c.LlamaLib != "" {
		if err := llama.Check(c.LlamaLib); err != nil {
			log.Warn("models will be unavailable; all else works", "err", err)
		}
	}
}

// newNode wires drivers, pools and the model runtime.
func (c *serveCmd) newNode(log *slog.Logger, data string, st *store.Store, metrics prometheus.Registerer) (*node, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	wasmDriver, err := wasm.New(wasm.Config{
		Dir:     filepath.Join(data, "wasm"),
		Prepare: func(ctx context.Context) *exec.Cmd { return exec.CommandContext(ctx, self, "prepare-wasm") },
		Log:     log,
	})
	if err != nil {
		return nil, err
	}
	pluginDriver, err := plugin.New(plugin.Config{Dir: filepath.Join(data, "plugins"), Confine: []string{self, confineName}, Log: log})
	if err != nil {
		return nil, err
	}
	endpoints, err := loadEndpoints(c.Endpoints)
	if err != nil {
		return nil, err
	}
	models := gpu.New(gpu.Config{
		Command:   func() *exec.Cmd { return exec.Command(self, "worker") },
		Dir:       filepath.Join(data, "gpu"),
		LlamaLib:  c.LlamaLib,
		Engine:    func() error { return llama.Check(c.LlamaLib) },
		Endpoints: endpoints,
		Models:    records{st},
		IdleAfter: c.Idle,
		Log:       log,
		Metrics:   metrics,
	})
	config := coldstart.DefaultConfig()
	config.IdleAfter = c.Idle
	if c.MaxMem > 0 {
		config.MemBytes = int64(c.MaxMem)
	}
	pools, err := coldstart.New(config, coldstart.Deps{
		Drivers: []sandbox.Driver{wasmDriver, pluginDriver}, Manifests: records{st}, Artifacts: st, Models: models, Log: log, Metrics: metrics,
	})
	if err != nil {
		return nil, err
	}
	return &node{pools: pools, models: models, deployed: records{st}}, nil
}
