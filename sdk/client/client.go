package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"connectrpc.com/connect"
	"github.com/catenary-run/catenary/functions"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// maxMessage bounds one message of a reply: an item of the largest output limit that is sensible, and its frame.
const maxMessage = 256<<20 + 64<<10

// Client is one server. It may be used from many goroutines.
type Client struct {
	base   string
	http   *http.Client
	chains catenaryv1.ChainServiceClient
	held   *held
}

// Option changes how a Client is made.
type Option func(*Client)

// WithHTTPClient makes the client use c, which must speak HTTP/2 to the server.
func WithHTTPClient(c *http.Client) Option { return func(cl *Client) { cl.http = c } }

// New returns a client of the server at a URL such as http://127.0.0.1:8372. It does not connect yet. It returns an
// error wrapping functions.ErrInvalid if that is not a URL.
func New(baseURL string, opts ...Option) (*Client, error) {
	u, err := url.Parse(baseURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%w: server %q is not a URL such as http://127.0.0.1:8372", functions.ErrInvalid, baseURL)
	}
	c := &Client{base: strings.TrimRight(baseURL, "/"), held: newHeld(maxHeld)}
	for _, opt := range opts {
		opt(c)
	}
	if c.http == nil {
		c.http = catenaryv1.NewHTTPClient(http.ProxyFromEnvironment)
	}
	c.connect()
	return c, nil
}

// connect sets what runs go through. Replies are not compressed: most of their bytes are audio, and most servers are near.
func (c *Client) connect() {
	c.chains = catenaryv1.NewChainServiceClient(c.http, c.base, connect.WithReadMaxBytes(maxMessage), connect.WithAcceptCompression("gzip", nil, nil),
		connect.WithInterceptors(tellDeadline{}))
}

// List returns the chains that are deployed, sorted by name.
func (c *Client) List(ctx context.Context) ([]*catenaryv1.DeployedChain, error) {
	resp, err := c.chains.List(ctx, &catenaryv1.ListRequest{})
	if err != nil {
		return nil, c.failure(ctx, err)
	}
	return resp.Chains, nil
}

// Pools returns what the server's node holds.
func (c *Client) Pools(ctx context.Context) (*catenaryv1.PoolsResponse, error) {
	resp, err := c.chains.Pools(ctx, &catenaryv1.PoolsRequest{})
	if err != nil {
		return nil, c.failure(ctx, err)
	}
	return resp, nil
}

// failure returns an error of Connect or of the connection in the vocabulary of package functions.
func (c *Client) failure(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if f := catenaryv1.FailureIn(err); f != nil {
		return f.Err()
	}
	ce, ok := errors.AsType[*connect.Error](err)
	if !ok || !connect.IsWireError(err) && ce.Code() != connect.CodeDeadlineExceeded && ce.Code() != connect.CodeResourceExhausted {
		return fmt.Errorf("%w: server %s: %w; is it running (catenary serve)?", functions.ErrUnavailable, c.base, err)
	}
	if ce.Code() == connect.CodeResourceExhausted && connect.IsWireError(err) { // of Connect itself, at the server
		return fmt.Errorf("%w: the server takes no message as large as this one: %s; see its --max-body", functions.ErrMemoryLimit, ce.Message())
	}
	return fmt.Errorf("%w: %s", sentinel(ce.Code()), ce.Message())
}

// sentinel is the meaning of a Connect error that carries no Failure.
func sentinel(code connect.Code) error {
	switch code {
	case connect.CodeNotFound:
		return functions.ErrNotFound
	case connect.CodePermissionDenied, connect.CodeUnauthenticated:
		return functions.ErrDenied
	case connect.CodeResourceExhausted:
		return functions.ErrOutputLimit
	case connect.CodeDeadlineExceeded:
		return context.DeadlineExceeded
	case connect.CodeCanceled:
		return context.Canceled
	case connect.CodeInvalidArgument, connect.CodeUnimplemented, connect.CodeOutOfRange:
		return functions.ErrInvalid
	default:
		return functions.ErrUnavailable
	}
}

// do sends a plain request. A reply that is not 2xx is an error, and its body is read and closed.
func (c *Client) do(req *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		if cause := context.Cause(req.Context()); cause != nil {
			return nil, cause
		}
		return nil, fmt.Errorf("%w: server %s: %w; is it running (catenary serve)?", functions.ErrUnavailable, c.base, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		defer resp.Body.Close()
		return nil, plainFailure(resp)
	}
	return resp, nil
}

// maxErrorBody bounds what is read of an error.
const maxErrorBody = 1 << 20

// plainFailure reads the error of a plain door: Connect's JSON.
func plainFailure(resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // what is cut off does not parse
	f, err := parseWireError(body)
	if err != nil {
		return fmt.Errorf("%w: the server answered %s without an error that can be read", functions.ErrUnavailable, resp.Status)
	}
	return f
}
