package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/prometheus/client_golang/prometheus"
)

// Deps is what a gateway needs from the rest of the process.
type Deps struct {
	Catalogue functions.Catalogue
	Blobs     functions.Blobs
	Node      Node
	Log       *slog.Logger
	Metrics   *prometheus.Registry
	// Services are further doors on the same port, such as remote.Handler. They are drained with the gateway's own.
	Services []Service
	// Checks is what /readyz asks for.
	Checks []Check
}

// Service is an HTTP handler mounted at a path that ends with a slash. Name is that of a gRPC service, for reflection
// and health.
type Service struct {
	Name    string
	Path    string
	Handler http.Handler
}

// Node runs functions: the pools and models of this process, or another process (see package gateway/remote).
type Node interface {
	functions.Invoker
	// Prepare makes the versions of a deploy fit to be called, and returns how each function was prepared. It fails if
	// one of them can't be.
	Prepare(ctx context.Context, fns, models []functions.Ref) ([]Prepared, error)
	// Pools returns what the node holds now.
	Pools(ctx context.Context) (Pools, error)
}

// Prepared says how one version of a function was prepared.
type Prepared struct {
	Ref      functions.Ref
	Captured bool   // an image of its start-up is held
	Why      string // why not, for people
}

// Pools is what a node holds.
type Pools struct {
	Functions []FunctionPool
	Models    []ModelPool
}

// FunctionPool is the pool of one version of a function.
type FunctionPool struct {
	Name      string
	Kind      functions.Kind
	Digest    functions.Digest
	Tier      string // hot, parked or cold
	Instances int
	Busy      int
	Queued    int
	MemBytes  int64
	Wake      time.Duration // of the last wake
	Captured  bool
	Why       string
}

// ModelPool is one model on one device.
type ModelPool struct {
	Name     string
	Digest   functions.Digest // of the version; only the node's own process knows it
	Device   string
	Tier     string // hot, parked, cold or unavailable
	Leases   int
	Queued   int
	MemBytes int64
	Wake     time.Duration
	Why      string // why it is unavailable, and the remedy
}

func (d *Deps) validate(nodeOnly bool) error {
	var faults []error
	missing := func(what string, is bool) {
		if is {
			faults = append(faults, errors.New("gateway: Deps."+what+" is missing"))
		}
	}
	missing("Log", d.Log == nil)
	missing("Metrics", d.Metrics == nil)
	missing("Catalogue", d.Catalogue == nil && !nodeOnly)
	missing("Blobs", d.Blobs == nil && !nodeOnly)
	missing("Node", d.Node == nil && !nodeOnly)
	return errors.Join(faults...)
}
