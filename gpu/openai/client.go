package openai

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/catenary-run/catenary/functions"
)

const (
	// silenceLimit is how long a server may go without an answer's next event. It is for a server that lets a long prompt
	// wait behind others; one that hangs is given up then.
	silenceLimit = 2 * time.Minute
	// checkLimit is for a question that a server answers without computing anything.
	checkLimit = 10 * time.Second
	// tailLimit is for what may follow an answer's end: its count of tokens.
	tailLimit = 2 * time.Second
	// dialLimit is for a server that is there.
	dialLimit = 10 * time.Second

	maxRequest = 5 << 20  // bytes of a request, as the worker of a local model takes them
	maxReply   = 4 << 20  // bytes of a reply that is no stream: a long list of models
	maxHeader  = 64 << 10 // bytes of a reply's header
	maxIdle    = 64       // connections that are kept for the next calls: as many as there can be calls
)

// Config of a Client. URL must be set.
type Config struct {
	// URL is that of the API, such as http://127.0.0.1:8000/v1, without a slash at its end.
	URL string
	// Key tells where the server's key is. The zero value is a server without one.
	Key Key
	// Dial connects to an address. Nil takes the network.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Client asks one server. It may be used from many goroutines.
type Client struct {
	cfg  Config
	http *http.Client

	mu     sync.Mutex // guards the fields below
	open   map[*Answer]struct{}
	closed bool
}

// New returns a client that has not connected yet. Close ends it.
func New(cfg Config) *Client {
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{Timeout: dialLimit}).DialContext
	}
	return &Client{cfg: cfg, open: map[*Answer]struct{}{}, http: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            cfg.Dial,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true, // its buffers would hold tokens back
			TLSHandshakeTimeout:    dialLimit,
			MaxResponseHeaderBytes: maxHeader,
			MaxIdleConnsPerHost:    maxIdle,
			IdleConnTimeout:        90 * time.Second,
		},
	}}
}

// Close ends all answers, with errors that wrap [functions.ErrUnavailable], and drops the connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for a := range c.open {
		a.cancel(c.stopped())
	}
	c.http.CloseIdleConnections()
}

func (c *Client) stopped() error {
	return fmt.Errorf("%w: %s was stopped", functions.ErrUnavailable, c.cfg.URL)
}

// newAnswer returns an answer that has not begun.
func (c *Client) newAnswer(ctx context.Context) (*Answer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, c.stopped()
	}
	a := &Answer{client: c}
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	a.silence = time.AfterFunc(silenceLimit, func() { a.cancel(silence(silenceLimit)) })
	c.open[a] = struct{}{}
	return a, nil
}

// root is where a server answers what is no part of OpenAI's API.
func (c *Client) root() string { return strings.TrimSuffix(c.cfg.URL, "/v1") }

// Check returns nil if the server is ready and takes the key. A server that has no /health, or no list of models, is taken
// to be ready.
func (c *Client) Check(ctx context.Context) error {
	// Some servers list their models while they still load them.
	if _, err := c.ask(ctx, http.MethodGet, c.root()+"/health", checkLimit); err != nil && unready(err) {
		return c.explain(err)
	}
	list, err := c.ask(ctx, http.MethodGet, c.cfg.URL+"/models", checkLimit)
	switch status, _ := errors.AsType[*statusError](err); {
	case status != nil && (status.code == http.StatusNotFound || status.code == http.StatusMethodNotAllowed):
		return nil
	case err != nil:
		return c.explain(err)
	}
	if !json.Valid(list) {
		return c.failf(false, "it lists its models as %q: is this the URL of an OpenAI-style API?", c.excerpt(list))
	}
	return nil
}

// Listens reports whether anybody takes connections at the URL. It says nothing to whoever does.
func (c *Client) Listens(ctx context.Context) bool {
	u, err := url.Parse(c.cfg.URL)
	if err != nil {
		return false
	}
	port := cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	conn, err := c.cfg.Dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was said
	return true
}

// unready reports whether err says that a server is not there, or not yet.
func unready(err error) bool {
	status, ok := errors.AsType[*statusError](err)
	return !ok || status.code >= 500
}

// ask makes a request without a body, and returns the whole reply. The server may take limit for it.
func (c *Client) ask(ctx context.Context, method, url string, limit time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, silence(limit))
	defer cancel()
	res, err := c.send(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxReply+1))
	switch {
	case err != nil:
		return nil, broken(ctx, err)
	case len(body) > maxReply:
		return nil, c.failf(false, "a reply of more than %d bytes", maxReply)
	}
	return body, nil
}

// send makes a request and returns a reply whose status is good. The caller closes its body.
func (c *Client) send(ctx context.Context, method, url string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	key, err := c.cfg.Key.read()
	if err != nil {
		return nil, c.failf(false, "%v", err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
		// A kept connection may be closed by the server just now. To ask again is right then, and is what this says: nothing
		// of an answer has come. It is not sent.
		req.Header["Idempotency-Key"] = []string{}
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, broken(ctx, err)
	}
	if res.StatusCode/100 != 2 {
		defer res.Body.Close()
		return nil, c.statusError(res)
	}
	return res, nil
}

// request is the body of a chat completion.
type request struct {
	Model         string              `json:"model"`
	Messages      []functions.Message `json:"messages"`
	Stream        bool                `json:"stream"`
	StreamOptions streamOptions       `json:"stream_options"`
	MaxTokens     int                 `json:"max_tokens,omitempty"`
	Temperature   float64             `json:"temperature"`
	TopP          float64             `json:"top_p,omitempty"`
	Seed          uint32              `json:"seed,omitempty"`
	Stop          []string            `json:"stop,omitempty"`

	// Beyond OpenAI's API, by the names of vLLM and SGLang. A server that does not know them may refuse the request.
	TopK       int     `json:"top_k,omitempty"`
	MinP       float64 `json:"min_p,omitempty"`
	Repetition float64 `json:"repetition_penalty,omitempty"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

// Generate asks the model that the server knows by that name. It returns when the server begins to answer. The caller
// closes the answer, which ends with ctx.
func (c *Client) Generate(ctx context.Context, model string, req functions.Generation) (*Answer, error) {
	body, err := json.Marshal(request{
		Model: model, Messages: req.Messages, Stream: true, StreamOptions: streamOptions{true},
		MaxTokens: max(req.MaxTokens, 0), Temperature: req.Temperature, TopP: req.TopP, Seed: req.Seed, Stop: req.Stop,
		TopK: req.TopK, MinP: req.MinP, Repetition: req.Repetition,
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", functions.ErrInvalid, err) // a temperature that is no number
	case len(body) > maxRequest:
		return nil, fmt.Errorf("%w: a request of %d bytes; a model takes %d at most", functions.ErrInvalid, len(body), maxRequest)
	}
	a, err := c.newAnswer(ctx)
	if err != nil {
		return nil, err
	}
	res, err := c.send(a.ctx, http.MethodPost, c.cfg.URL+"/chat/completions", body)
	if err != nil {
		a.Close()
		return nil, c.explain(err)
	}
	a.silence.Stop()
	a.body, a.events = res.Body, newEvents(res.Body)
	if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); kind != "text/event-stream" {
		a.Close()
		return nil, c.failf(false, "it answers with %q, not with a stream of events: is this the URL of an OpenAI-style API?", c.excerpt([]byte(kind)))
	}
	return a, nil
}
