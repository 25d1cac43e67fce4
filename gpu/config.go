package gpu

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/catenary-run/catenary/functions"
)

// Source tells what a reference stands for. It may be used from many goroutines.
type Source interface {
	// Model returns the model of that version.
	Model(ctx context.Context, ref functions.Ref) (*functions.Model, error)
	// ModelFile returns a local file with the model's weights. Nobody changes it while the process lives.
	ModelFile(ctx context.Context, m *functions.Model) (string, error)
}

// Defaults of a Config.
const (
	DefaultIdleAfter  = 5 * time.Minute
	DefaultQueueDepth = 64
	DefaultSlots      = 8
	DefaultCacheBytes = 1 << 30
)

// maxSlots is what the worker takes.
const maxSlots = 64

// Config of a Runtime. Command, Dir and Models must be set; the rest has defaults.
type Config struct {
	// Command returns a new command that runs the worker. The runtime adds --socket PATH and --llama-lib DIR to its
	// arguments; if its Env is nil the worker's environment holds only HOME and XDG_CACHE_HOME, both below Dir.
	Command func() *exec.Cmd
	// Dir is a private folder for sockets and for what the engine's libraries unpack. It is made if it is not there.
	Dir string
	// LlamaLib is the folder of libllama. Empty means that every model is unavailable.
	LlamaLib string
	// Engine returns nil unless it is plain, without loading anything, that there is no engine: then it says why and what
	// to do. It is asked before a worker is started and by Status, so it must be quick. Nil: only the worker knows.
	Engine func() error
	// Endpoints are what this node knows of servers that models name. Those that are not here need no key.
	Endpoints []Endpoint
	// Dial connects to endpoints. Nil takes the network.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Models tells what a reference stands for.
	Models Source
	// IdleAfter is how long a model stays awake unused, unless the model says otherwise. Zero takes DefaultIdleAfter.
	IdleAfter time.Duration
	// QueueDepth is how many calls may wait for one model; when it is full, callers with few calls in it displace those of
	// callers with many. Zero takes DefaultQueueDepth.
	QueueDepth int
	// Threads of the engine per call. Zero takes 1.
	Threads int
	// Slots is how many calls use one model at the same time; they are decoded together. Zero takes DefaultSlots.
	Slots int
	// CacheBytes bounds the keys and values of one model's slots. A model that needs more for each has fewer slots, but
	// always one. Zero takes DefaultCacheBytes.
	CacheBytes int64
	// Log gets the worker's life and what it prints. Nil discards it.
	Log *slog.Logger
	// Metrics gets the figures of this package; nil leaves them unregistered.
	Metrics prometheus.Registerer
}

// Validate returns all faults joined.
func (c *Config) Validate() error {
	var faults []error
	fault := func(bad bool, text string) {
		if bad {
			faults = append(faults, fmt.Errorf("%w: gpu: %s", functions.ErrInvalid, text))
		}
	}
	fault(c.Command == nil, "Command is not set")
	fault(c.Dir == "", "Dir is not set")
	fault(c.Models == nil, "Models is not set")
	fault(c.IdleAfter < 0, "IdleAfter is negative")
	fault(c.QueueDepth < 0, "QueueDepth is negative")
	fault(c.Threads < 0, "Threads is negative")
	fault(c.Slots < 0 || c.Slots > maxSlots, fmt.Sprintf("Slots is not within 0 and %d", maxSlots))
	fault(c.CacheBytes < 0, "CacheBytes is negative")
	seen := map[string]bool{}
	for _, e := range c.Endpoints {
		faults = append(faults, e.Validate())
		fault(seen[e.URL], "endpoint "+e.URL+" is there twice")
		seen[e.URL] = true
	}
	return errors.Join(faults...)
}

func (c Config) withDefaults() Config {
	if c.IdleAfter == 0 {
		c.IdleAfter = DefaultIdleAfter
	}
	if c.QueueDepth == 0 {
		c.QueueDepth = DefaultQueueDepth
	}
	if c.Slots == 0 {
		c.Slots = DefaultSlots
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = DefaultCacheBytes
	}
	if c.Engine == nil {
		c.Engine = func() error { return nil }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Tier is how much is left to do before a model's first token.
type Tier string

// The tiers of a model.
const (
	TierHot         Tier = "hot"         // awake
	TierParked      Tier = "parked"      // known to the worker, its memory freed
	TierCold        Tier = "cold"        // not loaded
	TierUnavailable Tier = "unavailable" // there is no engine, or the endpoint does not answer
)

// ModelStatus is what a person sees of one model.
type ModelStatus struct {
	Name    string
	Version functions.Digest
	// Device is empty until a worker has been started; of an endpoint it is the URL.
	Device string
	Tier   Tier
	// Leases counts the calls that have a slot, Queued those that wait for one.
	Leases, Queued int
	// Slots is how many leases there can be at once, Sessions how many slots are kept for the next generation of a
	// session. Both are zero unless the model is hot.
	Slots, Sessions int
	// PromptTokens counts the tokens of all prompts, ReusedTokens those of them that the session's slot had read before.
	PromptTokens, ReusedTokens int64
	// MemBytes that the model holds: its weights, and the keys and values of all its slots.
	MemBytes int64
	// WakeTime is what the last load or wake took from when it was asked for: the start of a worker is in it. It is zero
	// before the first.
	WakeTime time.Duration
	// Why says what is wrong: why there is no engine, why an endpoint does not answer, or why the last load failed. Empty
	// if all is well.
	Why string
}
