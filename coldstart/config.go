package coldstart

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
)

// fallbackMemory is assumed where the system does not say what it has.
const fallbackMemory = 4 << 30

// Config bounds the pools of a node.
type Config struct {
	// IdleAfter is how long an unused version stays hot if its manifest does not say. Default 5 min.
	IdleAfter time.Duration
	// QueueDepth is how many calls of one version may wait, beside those for which there may yet be an instance. Default
	// 64.
	QueueDepth int
	// MaxInstances bounds the instances of one WASM version. Default two per core: one that computes, and one that
	// waits for a model.
	MaxInstances int
	// Spare is how many instances of a WASM version are ready beyond those in use, while it is hot: the next calls find
	// them while others are being reset or replaced. Default 2.
	Spare int
	// MaxSessions bounds the instances of one WASM version whose calls last as long as a stream: they wait more than
	// they compute. Default 1024.
	MaxSessions int
	// MaxPluginSessions bounds the processes of one plugin version whose calls last as long as a stream. Default 16.
	MaxPluginSessions int
	// MaxPlugins bounds the processes of one plugin version. Default one per core: plugins compute, and a further
	// process would only take memory.
	MaxPlugins int
	// MemBytes is the budget for code and instances together. Above it idle instances and parked code are given up.
	// Default a quarter of the memory that this process may use.
	MemBytes int64
	// PrepareTimeout bounds the making of an image, with the fetch of its artifact. Default 5 min: a large module
	// compiles for long on a small machine.
	PrepareTimeout time.Duration
	// StartTimeout bounds the start of one instance. Default 30 s.
	StartTimeout time.Duration
}

// DefaultConfig returns the defaults for this machine.
func DefaultConfig() Config {
	cores := runtime.GOMAXPROCS(0)
	return Config{
		IdleAfter:    5 * time.Minute,
		QueueDepth:   64,
		MaxInstances: 2 * cores,
		Spare:        2,
		MaxSessions:  1024,
		MaxPlugins:   cores,

		MaxPluginSessions: 16,
		MemBytes:          memoryLimit() / 4,
		PrepareTimeout:    5 * time.Minute,
		StartTimeout:      30 * time.Second,
	}
}

// Validate returns all faults joined, each wrapping functions.ErrInvalid.
func (c Config) Validate() error {
	var faults []error
	if c.Spare < 0 {
		faults = append(faults, fmt.Errorf("%w: coldstart: spare must not be less than 0", functions.ErrInvalid))
	}
	for _, f := range []struct {
		name string
		bad  bool
	}{
		{"idle_after", c.IdleAfter <= 0},
		{"queue_depth", c.QueueDepth <= 0},
		{"max_instances", c.MaxInstances <= 0},
		{"max_plugins", c.MaxPlugins <= 0},
		{"max_sessions", c.MaxSessions <= 0},
		{"max_plugin_sessions", c.MaxPluginSessions <= 0},
		{"mem_bytes", c.MemBytes <= 0},
		{"prepare_timeout", c.PrepareTimeout <= 0},
		{"start_timeout", c.StartTimeout <= 0},
	} {
		if f.bad {
			faults = append(faults, fmt.Errorf("%w: coldstart: %s must be more than 0", functions.ErrInvalid, f.name))
		}
	}
	return errors.Join(faults...)
}

// Manifests finds the manifest of a version. Its errors say what it did not find.
type Manifests interface {
	Manifest(ctx context.Context, ref functions.Ref) (*functions.Manifest, error)
}

// Artifacts finds a local file with the bytes of a digest, and looks whether it is whole; functions.Blobs does.
type Artifacts interface {
	Path(ctx context.Context, d functions.Digest) (string, error)
	Verify(ctx context.Context, d functions.Digest) (damaged bool, err error)
}

// Models is the runtime that functions ask through their Host.
type Models interface {
	Generate(ctx context.Context, ref functions.Ref, req functions.Generation) (functions.Tokens, error)
	// Wake returns when the model can answer at once.
	Wake(ctx context.Context, ref functions.Ref) error
	// Prepare returns nil if the model could be loaded here.
	Prepare(ctx context.Context, ref functions.Ref) error
	// EndSession frees what is kept between the generations of a session. Of an unknown one it does nothing.
	EndSession(session string)
}

// Deps is what the pools need of others.
type Deps struct {
	Drivers   []sandbox.Driver
	Manifests Manifests
	Artifacts Artifacts
	Models    Models                // may be nil: then the use of a model wraps functions.ErrNoDevice
	Log       *slog.Logger          // may be nil
	Metrics   prometheus.Registerer // may be nil
}

// driversByKind returns an error if a kind has two drivers, or nobody runs anything.
func (d Deps) driversByKind() (map[functions.Kind]sandbox.Driver, error) {
	if d.Manifests == nil || d.Artifacts == nil || len(d.Drivers) == 0 {
		return nil, fmt.Errorf("%w: coldstart needs drivers, manifests and artifacts", functions.ErrInvalid)
	}
	byKind := map[functions.Kind]sandbox.Driver{}
	for _, driver := range d.Drivers {
		for _, kind := range driver.Kinds() {
			if byKind[kind] != nil {
				return nil, fmt.Errorf("%w: coldstart: two drivers run kind %s", functions.ErrInvalid, kind)
			}
			byKind[kind] = driver
		}
	}
	return byKind, nil
}
