package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/invokertest"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/functions/wav"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
	"github.com/prometheus/client_golang/prometheus"
)

// memory is a catalogue and blobs in memory.
type memory struct {
	mu        sync.Mutex // guards the fields below
	records   map[string][]byte
	aliases   map[string]functions.Alias
	blobs     map[functions.Digest][]byte
	changed   chan struct{} // closed and replaced at every change of an alias
	reads     int           // of aliases
	broken    error         // what every read of an alias returns
	beforeSet func(name string)
}

func newMemory() *memory {
	return &memory{records: map[string][]byte{}, aliases: map[string]functions.Alias{}, blobs: map[functions.Digest][]byte{}, changed: make(chan struct{})}
}

func (m *memory) PutRecord(_ context.Context, kind functions.RecordKind, data []byte) (functions.Digest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := functions.DigestOf(data)
	m.records[string(kind)+string(d)] = data
	return d, nil
}

func (m *memory) Record(_ context.Context, kind functions.RecordKind, d functions.Digest) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if data := m.records[string(kind)+string(d)]; data != nil {
		return data, nil
	}
	return nil, fmt.Errorf("%w: record %s", functions.ErrNotFound, d)
}

func (m *memory) Alias(_ context.Context, name string) (functions.Alias, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	if m.broken != nil {
		return functions.Alias{}, m.broken
	}
	if a, ok := m.aliases[name]; ok {
		return a, nil
	}
	return functions.Alias{}, fmt.Errorf("%w: alias %s", functions.ErrNotFound, name)
}

func (m *memory) Aliases(_ context.Context, prefix string) ([]functions.Alias, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []functions.Alias
	for _, name := range slices.Sorted(maps.Keys(m.aliases)) {
		if strings.HasPrefix(name, prefix) {
			all = append(all, m.aliases[name])
		}
	}
	return all, nil
}

func (m *memory) SetAlias(_ context.Context, name string, d functions.Digest, rev uint64) (functions.Alias, error) {
	m.mu.Lock()
	hook := m.beforeSet
	m.mu.Unlock()
	if hook != nil {
		hook(name)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.aliases[name].Rev != rev {
		return functions.Alias{}, fmt.Errorf("%w: alias %s", functions.ErrConflict, name)
	}
	a := functions.Alias{Name: name, Digest: d, Rev: rev + 1}
	m.aliases[name] = a
	close(m.changed)
	m.changed = make(chan struct{})
	return a, nil
}

func (m *memory) Watch(ctx context.Context, changed func(functions.Alias)) error {
	seen := map[string]uint64{}
	for {
		m.mu.Lock()
		broken, wait, all := m.broken, m.changed, maps.Clone(m.aliases)
		m.mu.Unlock()
		if broken != nil {
			return broken
		}
		for name, a := range all {
			if seen[name] != a.Rev {
				seen[name] = a.Rev
				changed(a)
			}
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (m *memory) Put(_ context.Context, want functions.Digest, r io.Reader) (int64, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return 0, err
	}
	if functions.DigestOf(data) != want {
		return 0, fmt.Errorf("%w: digest is %s", functions.ErrInvalid, functions.DigestOf(data).Short())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs[want] = data
	return int64(len(data)), nil
}

func (m *memory) Open(_ context.Context, d functions.Digest) (io.ReadCloser, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.blobs[d]
	if !ok {
		return nil, 0, fmt.Errorf("%w: blob %s", functions.ErrNotFound, d)
	}
	return struct {
		io.ReadSeeker
		io.Closer
	}{bytes.NewReader(data), io.NopCloser(nil)}, int64(len(data)), nil
}

func (m *memory) Path(context.Context, functions.Digest) (string, error) {
	return "", errors.New("not used here")
}

// testNode runs functions in this process.
type testNode struct {
	functions.Invoker
	mu       sync.Mutex // guards the fields below
	prepared [][]functions.Ref
	failWith error
}

func (n *testNode) Prepare(_ context.Context, fns, _ []functions.Ref) ([]Prepared, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.failWith != nil {
		return nil, n.failWith
	}
	n.prepared = append(n.prepared, fns)
	var out []Prepared
	for _, r := range fns {
		out = append(out, Prepared{Ref: r, Captured: true})
	}
	return out, nil
}

func (n *testNode) fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failWith = err
}

func (n *testNode) prepares() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.prepared)
}

func (n *testNode) Pools(context.Context) (Pools, error) {
	return Pools{Functions: []FunctionPool{{Name: "shout", Tier: "hot", Instances: 1, Wake: 1500 * time.Microsecond}}}, nil
}

// The types of the test functions.
type (
	Question struct {
		Text string `json:"text"`
	}
	Word struct {
		Word string `json:"word"`
		N    int    `json:"n"`
	}
	Measure struct {
		SampleHz int           `json:"sample_hz"`
		Dur      time.Duration `json:"dur"`
		Bytes    int           `json:"bytes"`
	}
)

// tone returns a wav file of the given count of samples.
func tone(hz, samples int) []byte {
	return append(wav.Header(hz, 1, int64(2*samples)), bytes.Repeat([]byte{1, 2}, samples)...)
}

func port[T any](stream bool) functions.Port {
	return functions.Port{Schema: functions.SchemaFor[T](), Stream: stream}
}

// function makes a test function of Go types.
func function[I any](name string, in, out functions.Port, body func(ctx context.Context, in I, it functions.Item, send func(any, ...functions.Attachment) error) error) invokertest.Function {
	f := invokertest.New(name, func(ctx context.Context, src functions.Source, sink functions.Sink) error {
		it, err := src.Recv(ctx)
		if err != nil {
			return err
		}
		var v I
		if err := value.Decode(it.Value, &v); err != nil {
			return err
		}
		seq := uint64(0)
		return body(ctx, v, it, func(out any, blobs ...functions.Attachment) error {
			b, err := value.Encode(out)
			if err != nil {
				return err
			}
			defer func() { seq++ }()
			return sink.Send(ctx, functions.Item{Value: b, Blobs: blobs, Seq: seq})
		})
	})
	f.Manifest.In, f.Manifest.Out = in, out
	return f
}

type sendFunc = func(any, ...functions.Attachment) error

// gate is what the functions "slow" and "drip" wait for.
type gate struct {
	begun chan struct{} // a value for each call that has begun
	open  chan struct{} // closed: they may end
	ended chan error    // why each ended
}

func newGate() *gate {
	return &gate{make(chan struct{}, 64), make(chan struct{}), make(chan error, 64)}
}

func testFunctions(g *gate) []invokertest.Function {
	wait := func(ctx context.Context) (err error) {
		g.begun <- struct{}{}
		select {
		case <-g.open:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		g.ended <- err
		return err
	}
	return []invokertest.Function{
		function("shout", port[string](false), port[string](false), func(_ context.Context, in string, _ functions.Item, send sendFunc) error {
			switch in {
			case "refuse":
				return fmt.Errorf("%w: not this", functions.ErrFunction)
			case "trap":
				return fmt.Errorf("%w: out of bounds", functions.ErrTrap)
			case "secret":
				return errors.New("open /secret/path: broken")
			case "cold":
				return fmt.Errorf("%w: no memory", functions.ErrColdStart)
			}
			return send(strings.ToUpper(in))
		}),
		function("split", port[Question](false), port[Word](true), func(_ context.Context, in Question, _ functions.Item, send sendFunc) error {
			for i, w := range strings.Fields(in.Text) {
				if w == "trap" {
					return fmt.Errorf("%w: at word %d", functions.ErrTrap, i)
				}
				if err := send(Word{w, i}); err != nil {
					return err
				}
			}
			return nil
		}),
		function("letters", port[string](false), port[string](true), func(_ context.Context, in string, _ functions.Item, send sendFunc) error {
			for _, r := range in {
				if err := send(string(r)); err != nil {
					return err
				}
			}
			return nil
		}),
		function("sing", port[string](false), port[functions.Audio](true), func(_ context.Context, in string, _ functions.Item, send sendFunc) error {
			for _, r := range in {
				hz := map[rune]int{'l': 8000}[r]
				if hz == 0 {
					hz = 16000
				}
				a := functions.Attach(wav.MediaType, tone(hz, 100))
				if err := send(functions.Audio{Blob: a.Blob, SampleHz: hz, Channels: 1}, a); err != nil {
					return err
				}
			}
			return nil
		}),
		function("measure", port[functions.Audio](false), port[Measure](false), func(_ context.Context, in functions.Audio, it functions.Item, send sendFunc) error {
			if len(it.Blobs) != 1 {
				return fmt.Errorf("%d blobs", len(it.Blobs))
			}
			return send(Measure{in.SampleHz, in.Dur, len(it.Blobs[0].Data)})
		}),
		function("paint", port[string](false), port[functions.Blob](false), func(_ context.Context, in string, _ functions.Item, send sendFunc) error {
			a := functions.Attach("image/x-test", []byte("picture of "+in))
			return send(a.Blob, a)
		}),
		function("slow", port[string](false), port[string](false), func(ctx context.Context, _ string, _ functions.Item, send sendFunc) error {
			if err := wait(ctx); err != nil {
				return err
			}
			return send("done")
		}),
		function("drip", port[string](false), port[string](true), func(ctx context.Context, in string, _ functions.Item, send sendFunc) error {
			if err := send("first"); err != nil {
				return err
			}
			if err := wait(ctx); err != nil {
				return err
			}
			if in == "trap" {
				return functions.ErrTrap
			}
			return send("last")
		}),
	}
}

// world is a gateway with its functions deployed, one chain for each under the same name.
type world struct {
	s    *Server
	mem  *memory
	node *testNode
	gate *gate
	fns  []invokertest.Function
	url  string
	http *http.Client // HTTP/2
	rpc  catenaryv1.ChainServiceClient
	log  *bytes.Buffer
}

func h2c() *http.Client {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{Protocols: p}}
}

// lockedBuffer may be written by many goroutines.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func newServer(t *testing.T, mem *memory, node Node, change func(*Config)) (*Server, *bytes.Buffer) {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	log := new(bytes.Buffer)
	s, err := New(cfg, Deps{Catalogue: mem, Blobs: mem, Node: node, Metrics: prometheus.NewRegistry(),
		Log: slog.New(slog.NewTextHandler(&lockedWriter{w: log}, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	return s, log
}

func newWorld(t *testing.T, change func(*Config), more ...invokertest.Function) *world {
	t.Helper()
	w := &world{mem: newMemory(), gate: newGate(), http: h2c()}
	w.fns = append(testFunctions(w.gate), more...)
	w.node = &testNode{Invoker: invokertest.NewLocal(invokertest.Setup{Functions: w.fns})}
	w.s, w.log = newServer(t, w.mem, w.node, change)
	srv := httptest.NewUnstartedServer(w.s.Handler())
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	t.Cleanup(w.http.CloseIdleConnections)
	w.url = srv.URL
	w.rpc = catenaryv1.NewChainServiceClient(w.http, w.url, connect.WithAcceptCompression("gzip", nil, nil))
	if _, err := w.rpc.Deploy(t.Context(), w.bundle()); err != nil {
		t.Fatal(err)
	}
	return w
}

// single is a chain of one step.
func single(name string) spec.Chain {
	return spec.Chain{Name: name, Steps: []spec.Step{{Name: "step", Op: spec.OpCall, Func: name, From: spec.Input}}, Out: "step"}
}

// bundle is all functions and their chains; their artifacts are put into the store.
func (w *world) bundle() *catenaryv1.DeployRequest {
	req := &catenaryv1.DeployRequest{}
	for _, f := range w.fns {
		w.mem.blobs[f.Manifest.Artifact] = []byte(f.Manifest.Name)
		req.Manifests = append(req.Manifests, f.Manifest.Canonical())
		req.Chains = append(req.Chains, &catenaryv1.ChainSpec{Json: single(f.Manifest.Name).Canonical()})
	}
	return req
}

type response struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

// code is the code of an error in Connect's JSON.
func (r response) code(t *testing.T) string {
	t.Helper()
	var e struct{ Code, Message string }
	if err := json.Unmarshal([]byte(r.body), &e); err != nil || e.Code == "" || e.Message == "" {
		t.Fatalf("status %d with body %q is not an error in Connect's JSON (%v)", r.status, r.body, err)
	}
	if ct := r.header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("an error of type %q", ct)
	}
	return e.Code
}

// curl sends a request over HTTP/1.1, as curl does.
func (w *world) curl(t *testing.T, method, path, contentType string, body []byte, header ...string) response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return response{resp.StatusCode, resp.Header, string(b), err}
}

// Verify implements functions.Blobs: nothing here is ever damaged.
func (*memory) Verify(context.Context, functions.Digest) (bool, error) { return false, nil }
