package store

import (
	"context"
	"errors"
	"fmt"
	neturl "net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/catenary-run/catenary/functions"
)

// Times to wait for Redis. A command moves at most 1 MiB, so a server that takes longer than this is as good as gone.
const (
	redisDialTimeout = 3 * time.Second
	redisIOTimeout   = 5 * time.Second
	redisOpTimeout   = 15 * time.Second // one operation with all its retries
	redisRetries     = 2
)

// redisPrefix begins all our keys, so that a server can be shared.
const redisPrefix = "catenary:"

// redisStore is the store in Redis.
type redisStore struct {
	client *goredis.Client
	addr   string // of the server, for errors: never with a password
	cache  blobFolder
	fetch  flights
	// A subscription that is silent for this long is asked for a sign of life, and given up if it stays silent: a
	// connection can die without a word.
	silence time.Duration
}

// watchSilence is redisStore.silence, but for tests.
const watchSilence = 15 * time.Second

// quietLibrary silences go-redis' own logger, which is global: it would repeat the errors that we return, on stderr.
var quietLibrary = sync.OnceFunc(func() { goredis.SetLogger(silent{}) })

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func openRedis(url, dir string) (*redisStore, error) {
	opt, err := parseRedisURL(url)
	if err != nil {
		return nil, err
	}
	if dir == "" {
		return nil, fmt.Errorf("%w: a store in Redis needs a folder for what this node fetches", functions.ErrInvalid)
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	cache := blobFolder{files: files{newFileLock(filepath.Join(dir, "lock"))}, dir: filepath.Join(dir, "blobs")}
	if err := os.MkdirAll(cache.dir, 0o700); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if err := cache.sweep(context.Background(), cache.dir); err != nil {
		return nil, err
	}
	quietLibrary()
	return &redisStore{client: goredis.NewClient(opt), addr: opt.Addr, cache: cache, silence: watchSilence}, nil
}

// parseRedisURL never quotes what it refuses: a URL that does not parse may have its password anywhere.
func parseRedisURL(url string) (*goredis.Options, error) {
	refused := fmt.Errorf("%w: the Redis URL of the store does not parse: use redis://[[user]:password@]host[:port][/db], with special characters of the password percent-encoded", functions.ErrInvalid)
	u, err := neturl.Parse(url)
	if err != nil || u.RawQuery != "" || u.Fragment != "" || u.Hostname() == "" {
		return nil, refused
	}
	opt, err := goredis.ParseURL(url)
	if err != nil {
		return nil, refused
	}
	opt.DialTimeout = redisDialTimeout
	opt.ReadTimeout = redisIOTimeout
	opt.WriteTimeout = redisIOTimeout
	opt.PoolTimeout = redisIOTimeout
	opt.MaxRetries = redisRetries
	opt.DialerRetries = 1 // the retries above dial again
	opt.ContextTimeoutEnabled = true
	opt.DisableIdentity = true // one round trip less on every new connection
	opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return opt, nil
}

// String returns the server's address.
func (r *redisStore) String() string { return "redis at " + r.addr }

// Close ends all connections.
func (r *redisStore) Close() error {
	if err := r.client.Close(); err != nil {
		return fmt.Errorf("store: close: %w", err)
	}
	return nil
}

// Ping asks the server for a sign of life.
func (r *redisStore) Ping(ctx context.Context) error {
	return r.do(ctx, "ping", func(ctx context.Context) error { return r.client.Ping(ctx).Err() })
}

// do runs one operation within its time limit and turns what go has to say into our errors. [goredis.Nil] stays as it
// is: the caller knows what is missing.
func (r *redisStore) do(ctx context.Context, what string, op func(context.Context) error) error {
	opCtx, cancel := context.WithTimeout(ctx, redisOpTimeout)
	defer cancel()
	err := op(opCtx)
	switch {
	case err == nil, errors.Is(err, goredis.Nil):
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, goredis.ErrClosed):
		return fmt.Errorf("%s: %s: %w", what, r, functions.ErrClosed)
	}
	if reply, ok := errors.AsType[goredis.Error](err); ok { // the server answered
		return fmt.Errorf("%s: %s: %w: %s", what, r, replyClass(reply), reply.Error())
	}
	// The cause is given as text: what timed out is the server, not the caller's own deadline.
	return fmt.Errorf("%s: %s: %w: %v; check that it runs and can be reached", what, r, functions.ErrUnavailable, err)
}

// replyClass returns the sentinel for an error that Redis answered with. The first word of such an error is its code.
func replyClass(reply goredis.Error) error {
	code, _, _ := strings.Cut(reply.Error(), " ")
	switch code {
	case "NOAUTH", "WRONGPASS", "NOPERM":
		return functions.ErrDenied
	case "OOM":
		return functions.ErrMemoryLimit
	case "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "MISCONF", "BUSY", "NOREPLICAS", "TRYAGAIN", "UNBLOCKED":
		return functions.ErrUnavailable
	}
	return errReply
}

// errReply is the class of all other answers: a fault of ours or damage, not of the caller.
var errReply = errors.New("unexpected answer")
