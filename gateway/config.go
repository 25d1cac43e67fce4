package gateway

import (
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Config bounds a Server. [DefaultConfig] has the defaults.
type Config struct {
	// MaxBody is the largest request, in bytes, but for blobs. Default 32 MiB.
	MaxBody int64
	// MaxBlob is the largest blob that PUT takes. Default 16 GiB.
	MaxBlob int64
	// MaxItem is the most that one input with its blobs, or one answer that is sent whole, may hold. Default 64 MiB.
	MaxItem int64
	// CallTimeout is the longest run that is one message each way; no caller may ask for more. A run that streams may take
	// any time, unless its caller sets a limit. Default 60 s.
	CallTimeout time.Duration
	// StreamIdle is how long a run whose caller gets items as they come may go without one, in or out. Default 5 min.
	StreamIdle time.Duration
	// DeployTimeout is the longest deploy: it may compile and boot what it deploys. Default 10 min.
	DeployTimeout time.Duration
	// Drain is how long runs may go on after the server was told to stop. Default 10 s.
	Drain time.Duration
	// MaxRuns is the most runs at once; one more is refused at once. Default 256.
	MaxRuns int
	// MaxUploads is the most blobs that are taken at once. Default 16.
	MaxUploads int
	// ResultBytes and ResultAge bound the blobs of results that are held for GET /blobs. Defaults 256 MiB, 10 min.
	ResultBytes int64
	ResultAge   time.Duration
	// Insecure serves requests whatever their Host says: for a listener that is not on loopback.
	Insecure bool
	// Origins are those of pages, such as https://app.example.com, that may open WebSockets beside the server's own.
	Origins []string
	// NodeOnly leaves out the doors for chains and blobs: only Deps.Services, health and metrics are served.
	NodeOnly bool
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		MaxBody: 32 << 20, MaxBlob: 16 << 30, MaxItem: 64 << 20,
		CallTimeout: time.Minute, StreamIdle: 5 * time.Minute, DeployTimeout: 10 * time.Minute, Drain: 10 * time.Second,
		MaxRuns: 256, MaxUploads: 16, ResultBytes: 256 << 20, ResultAge: 10 * time.Minute,
	}
}

// Validate returns all faults joined.
func (c Config) Validate() error {
	var faults []error
	positive := func(name string, n int64) {
		if n <= 0 {
			faults = append(faults, fmt.Errorf("gateway: Config.%s must be positive", name))
		}
	}
	positive("MaxBody", c.MaxBody)
	positive("MaxBlob", c.MaxBlob)
	positive("MaxItem", c.MaxItem)
	positive("CallTimeout", int64(c.CallTimeout))
	positive("StreamIdle", int64(c.StreamIdle))
	positive("DeployTimeout", int64(c.DeployTimeout))
	positive("MaxRuns", int64(c.MaxRuns))
	positive("MaxUploads", int64(c.MaxUploads))
	positive("ResultAge", int64(c.ResultAge))
	if c.Drain < 0 {
		faults = append(faults, errors.New("gateway: Config.Drain must not be negative"))
	}
	for _, origin := range c.Origins {
		if u, err := url.Parse(origin); err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != origin {
			faults = append(faults, fmt.Errorf("gateway: Config.Origins: %q is not an origin such as https://app.example.com", origin))
		}
	}
	if c.ResultBytes < c.MaxItem {
		faults = append(faults, fmt.Errorf("gateway: Config.ResultBytes (%d) must be at least MaxItem (%d): a result has to fit", c.ResultBytes, c.MaxItem))
	}
	return errors.Join(faults...)
}
