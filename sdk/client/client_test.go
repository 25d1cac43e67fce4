package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/invokertest"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/gateway"
	"github.com/catenary-run/catenary/gateway/remote"
	"github.com/catenary-run/catenary/internal/store"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/client"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

type (
	Question struct {
		Text string `json:"text"`
	}
	Length struct {
		Bytes    int `json:"bytes"`
		SampleHz int `json:"sample_hz"`
	}
)

// The functions and chains that the test server has.
var (
	shout   = sdk.NewFunc[Question, string]("shout")
	letters = sdk.NewFunc[Question, sdk.Stream[string]]("letters")
	measure = sdk.NewFunc[sdk.Audio, Length]("measure")
	sing    = sdk.NewFunc[Question, sdk.Audio]("sing")
	forever = sdk.NewFunc[Question, sdk.Stream[string]]("forever")

	shoutChain   = sdk.MustDefine("shout", func(s *sdk.Steps, in sdk.Val[Question]) sdk.Val[string] { return sdk.Call(s, shout, in) })
	lettersChain = sdk.MustDefine("letters", func(s *sdk.Steps, in sdk.Val[Question]) sdk.Val[sdk.Stream[string]] {
		return sdk.Call(s, letters, in)
	})
	measureChain = sdk.MustDefine("measure", func(s *sdk.Steps, in sdk.Val[sdk.Audio]) sdk.Val[Length] { return sdk.Call(s, measure, in) })
	singChain    = sdk.MustDefine("sing", func(s *sdk.Steps, in sdk.Val[Question]) sdk.Val[sdk.Audio] { return sdk.Call(s, sing, in) })
	foreverChain = sdk.MustDefine("forever", func(s *sdk.Steps, in sdk.Val[Question]) sdk.Val[sdk.Stream[string]] {
		return sdk.Call(s, forever, in)
	})
)

// node serves functions in this process.
type node struct {
	functions.Invoker
	ended   chan error    // why each call of forever ended
	callers chan<- string // if set, it gets the caller of each call
}

// Invoke implements functions.Invoker.
func (n *node) Invoke(ctx context.Context, call functions.Call, in functions.Source, out functions.Sink) (functions.Timing, error) {
	if n.callers != nil {
		n.callers <- call.Caller
	}
	return n.Invoker.Invoke(ctx, call, in, out)
}

func (n *node) Prepare(context.Context, []functions.Ref, []functions.Ref) ([]gateway.Prepared, error) {
	return nil, nil
}

func (n *node) Pools(context.Context) (gateway.Pools, error) {
	return gateway.Pools{Functions: []gateway.FunctionPool{{Name: "shout", Tier: "parked"}}}, nil
}

// describer is any sdk.Chain.
type describer interface {
	Describe() (sdk.ChainDescription, error)
}

func implement[I, O any](f sdk.Func[I, O], body func(ctx context.Context, in I, it functions.Item, send func(any, ...functions.Attachment) error) error) invokertest.Function {
	impl := invokertest.New(f.Name(), func(ctx context.Context, src functions.Source, sink functions.Sink) error {
		it, err := src.Recv(ctx)
		if err != nil {
			return err
		}
		var in I
		if err := value.Decode(it.Value, &in); err != nil {
			return err
		}
		return body(ctx, in, it, func(v any, blobs ...functions.Attachment) error {
			b, err := value.Encode(v)
			if err != nil {
				return err
			}
			return sink.Send(ctx, functions.Item{Value: b, Blobs: blobs})
		})
	})
	impl.Manifest.In, impl.Manifest.Out, _ = f.Ports()
	return impl
}

func tone(samples int) []byte {
	return append(wav.Header(16000, 1, int64(2*samples)), make([]byte, 2*samples)...)
}

// listen serves s and returns its URL.
func listen(t *testing.T, s *gateway.Server) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(s.Handler())
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.URL
}

// start serves the chains and returns a client of the server.
func start(t *testing.T) (*client.Client, *node, client.Bundle) {
	t.Helper()
	return startOn(t, func(n gateway.Node) gateway.Node { return n })
}

// startOn is start with another node between the gateway and the functions.
func startOn(t *testing.T, through func(gateway.Node) gateway.Node) (*client.Client, *node, client.Bundle) {
	t.Helper()
	n := &node{ended: make(chan error, 1)}
	type send = func(any, ...functions.Attachment) error
	fns := []invokertest.Function{
		implement(shout, func(_ context.Context, in Question, _ functions.Item, send send) error {
			if in.Text == "refuse" {
				return fmt.Errorf("%w: not this", functions.ErrFunction)
			}
			return send(strings.ToUpper(in.Text))
		}),
		implement(letters, func(_ context.Context, in Question, _ functions.Item, send send) error {
			for _, r := range in.Text {
				if r == '!' {
					return functions.ErrTrap
				}
				if err := send(string(r)); err != nil {
					return err
				}
			}
			return nil
		}),
		implement(measure, func(_ context.Context, in sdk.Audio, it functions.Item, send send) error {
			return send(Length{len(it.Blobs[0].Data), in.SampleHz})
		}),
		implement(sing, func(_ context.Context, in Question, _ functions.Item, send send) error {
			a := functions.Attach(wav.MediaType, tone(len(in.Text)))
			return send(sdk.Audio{Blob: a.Blob, SampleHz: 16000, Channels: 1}, a)
		}),
		implement(forever, func(ctx context.Context, _ Question, _ functions.Item, send send) (err error) {
			for err == nil {
				err = send("again")
			}
			n.ended <- err
			return err
		}),
	}
	fns = append(fns, streamFunctions()...)
	n.Invoker = invokertest.NewLocal(invokertest.Setup{Functions: fns})
	st, err := store.Open("", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	s, err := gateway.New(gateway.DefaultConfig(), gateway.Deps{
		Catalogue: st, Blobs: st, Node: through(n), Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(listen(t, s) + "/")
	if err != nil {
		t.Fatal(err)
	}
	b := client.Bundle{Open: func(d functions.Digest) (io.ReadCloser, int64, error) {
		for _, f := range fns {
			if f.Manifest.Artifact == d {
				return io.NopCloser(strings.NewReader(f.Manifest.Name)), int64(len(f.Manifest.Name)), nil
			}
		}
		return nil, 0, functions.ErrNotFound
	}}
	for _, f := range fns {
		b.Manifests = append(b.Manifests, *f.Manifest)
	}
	for _, ch := range []describer{shoutChain, lettersChain, measureChain, singChain, foreverChain, twiceChain, finalChain, loudChain, stuckChain} {
		d, err := ch.Describe()
		if err != nil {
			t.Fatal(err)
		}
		b.Chains = append(b.Chains, d)
	}
	resp, err := c.Deploy(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	for _, ch := range resp.Chains {
		if !ch.Changed {
			t.Errorf("chain %s has not changed", ch.Name)
		}
	}
	return c, n, b
}

func TestRun(t *testing.T) {
	c, _, _ := start(t)
	got, err := client.Run(t.Context(), c, shoutChain, Question{"hi"})
	if err != nil || got != "HI" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestRun_ThroughARemoteNode(t *testing.T) {
	c, n, _ := startOn(t, func(n gateway.Node) gateway.Node {
		cfg := gateway.DefaultConfig()
		cfg.NodeOnly = true
		s, err := gateway.New(cfg, gateway.Deps{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Services: []gateway.Service{remote.Handler(n)}})
		if err != nil {
			t.Fatal(err)
		}
		there, err := remote.New(listen(t, s), nil)
		if err != nil {
			t.Fatal(err)
		}
		return there
	})
	audio, err := client.Run(t.Context(), c, singChain, Question{"four"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := client.Run(t.Context(), c, measureChain, audio); err != nil || got.Bytes != 52 {
		t.Errorf("got %v, %v", got, err)
	}
	_, err = client.Run(t.Context(), c, shoutChain, Question{"refuse"})
	if step, ok := errors.AsType[*sdk.StepError](err); !ok || step.Step != "shout" || !errors.Is(err, functions.ErrFunction) {
		t.Errorf("got %v", err)
	}
	stream, err := client.Run(t.Context(), c, foreverChain, Question{})
	if err != nil {
		t.Fatal(err)
	}
	for range stream {
		break
	}
	if err := <-n.ended; err == nil {
		t.Error("the function went on")
	}
}

func TestRun_StepError(t *testing.T) {
	c, _, _ := start(t)
	_, err := client.Run(t.Context(), c, shoutChain, Question{"refuse"})
	step, ok := errors.AsType[*sdk.StepError](err)
	if !ok || step.Chain != "shout" || step.Step != "shout" || !errors.Is(err, functions.ErrFunction) {
		t.Errorf("got %v", err)
	}
	if f, ok := errors.AsType[*functions.Failure](err); !ok || f.Code != "function" || !strings.Contains(f.Message, "not this") {
		t.Errorf("got %v", f)
	}
}

func TestRun_Stream(t *testing.T) {
	c, _, _ := start(t)
	stream, err := client.Run(t.Context(), c, lettersChain, Question{"abc"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for s, err := range stream {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, s)
	}
	if diff := cmp.Diff(got, []string{"a", "b", "c"}); diff != "" {
		t.Errorf("got (-) want (+):\n%s", diff)
	}
}

func TestRun_StreamFails(t *testing.T) {
	c, _, _ := start(t)
	stream, err := client.Run(t.Context(), c, lettersChain, Question{"a!"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	var last error
	for s, err := range stream {
		if last = err; err == nil {
			got = append(got, s)
		}
	}
	if !errors.Is(last, functions.ErrTrap) || len(got) > 1 {
		t.Errorf("got %q, %v", got, last)
	}
}

func TestRun_StreamStopped(t *testing.T) {
	c, n, _ := start(t)
	stream, err := client.Run(t.Context(), c, foreverChain, Question{})
	if err != nil {
		t.Fatal(err)
	}
	for range stream {
		break
	}
	if err := <-n.ended; err == nil {
		t.Error("the function went on")
	}
}

func TestRun_Observe(t *testing.T) {
	c, _, _ := start(t)
	var seen []string
	var timing []client.Timing
	got, err := client.Run(t.Context(), c, shoutChain, Question{"hi"},
		client.Observe(func(o client.Observed) { seen = append(seen, o.Step+" "+string(o.JSON)) }, "shout"),
		client.Timings(func(t client.Timing) { timing = append(timing, t) }))
	if err != nil || got != "HI" {
		t.Fatalf("got %q, %v", got, err)
	}
	if diff := cmp.Diff(seen, []string{`shout "HI"`}); diff != "" {
		t.Errorf("got (-) want (+):\n%s", diff)
	}
	if len(timing) != 1 || timing[0].Step != "shout" || timing[0].Calls != 1 || timing[0].Total <= 0 || timing[0].BytesOut == 0 {
		t.Errorf("timing %+v", timing)
	}
}

func TestRun_Blobs(t *testing.T) {
	c, _, _ := start(t)
	for _, samples := range []int{100, 9 << 20} { // one that travels with its value, one that is put first
		file := tone(samples)
		audio, err := c.Audio(file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := client.Run(t.Context(), c, measureChain, audio)
		if want := (Length{len(file), 16000}); err != nil || got != want {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	}
	audio, err := client.Run(t.Context(), c, singChain, Question{"four"})
	if err != nil {
		t.Fatal(err)
	}
	data, err := c.ReadBlob(t.Context(), audio.Blob)
	if err != nil || !bytes.Equal(data, tone(4)) {
		t.Errorf("got %d bytes, %v", len(data), err)
	}
	if _, err := c.Audio([]byte("OggS")); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("got %v, want %v", err, functions.ErrInvalid)
	}
	lost := sdk.Audio{Blob: functions.Attach(wav.MediaType, []byte("nobody has it")).Blob}
	if _, err := client.Run(t.Context(), c, measureChain, lost); !errors.Is(err, functions.ErrNotFound) || !strings.Contains(err.Error(), lost.Digest.Hex()) {
		t.Errorf("got %v, want %v", err, functions.ErrNotFound)
	}
}

func TestRunJSON(t *testing.T) {
	c, _, _ := start(t)
	got, err := c.RunJSON(t.Context(), "letters", json.RawMessage(`{"text":"ab"}`))
	if err != nil || string(got.JSON) != `["a","b"]` || !strings.HasPrefix(got.Graph, "sha256:") || len(got.Timings) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = c.RunJSON(t.Context(), "sing", json.RawMessage(`{"text":"ab"}`))
	if err != nil {
		t.Fatal(err)
	}
	var audio sdk.Audio
	if err := json.Unmarshal(got.JSON, &audio); err != nil {
		t.Fatal(err)
	}
	if data, err := c.ReadBlob(t.Context(), audio.Blob); err != nil || !bytes.Equal(data, tone(2)) {
		t.Errorf("got %d bytes, %v", len(data), err) // fetched from the server
	}
}

func TestEvents(t *testing.T) {
	c, _, _ := start(t)
	var got []string
	for ev, err := range c.Events(t.Context(), "sing", json.RawMessage(`{"text":"ab"}`), "sing") {
		switch {
		case err != nil:
			t.Fatal(err)
		case ev.Value != nil:
			got = append(got, fmt.Sprintf("value, %d blobs of %d bytes", len(ev.Value.Blobs), len(ev.Value.Blobs[0].Data)))
		case ev.Timing != nil:
			got = append(got, "timing "+ev.Timing.Step)
		}
	}
	if diff := cmp.Diff(got, []string{"value, 1 blobs of 48 bytes", "timing sing"}); diff != "" {
		t.Errorf("got (-) want (+):\n%s", diff)
	}
	for _, err := range c.Events(t.Context(), "nope", nil) {
		if !errors.Is(err, functions.ErrNotFound) {
			t.Errorf("got %v, want %v", err, functions.ErrNotFound)
		}
	}
}

func TestPost(t *testing.T) {
	c, _, _ := start(t)
	resp, err := c.Post(t.Context(), "sing", "text/plain", strings.NewReader("abc"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(b, tone(3)) {
		t.Errorf("got %d bytes, %v", len(b), err)
	}
	_, err = c.Post(t.Context(), "shout", "text/plain", strings.NewReader("refuse"))
	if step, ok := errors.AsType[*sdk.StepError](err); !ok || step.Step != "shout" || !errors.Is(err, functions.ErrFunction) {
		t.Errorf("got %v", err)
	}
	if _, err := c.Post(t.Context(), "shout", "audio/wav", strings.NewReader("x")); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("got %v, want %v", err, functions.ErrInvalid)
	}
	if _, err := c.Post(t.Context(), "../blobs", "text/plain", nil); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("got %v, want %v", err, functions.ErrInvalid)
	}
}

func TestDeployAgain(t *testing.T) {
	c, _, b := start(t)
	b.Open = nil // the server has every blob
	resp, err := c.Deploy(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	for _, ch := range resp.Chains {
		if ch.Changed {
			t.Errorf("chain %s has changed", ch.Name)
		}
	}
	chains, err := c.List(t.Context())
	if err != nil || len(chains) != len(b.Chains) {
		t.Errorf("%d chains, %v", len(chains), err)
	}
	pools, err := c.Pools(t.Context())
	if err != nil || len(pools.Functions) != 1 || pools.Functions[0].Tier != "parked" {
		t.Errorf("%v, %v", pools, err)
	}
}

func TestDeploy_BlobThatLies(t *testing.T) {
	c, _, b := start(t)
	b.Manifests[0].Artifact = functions.DigestOf([]byte("something else"))
	b.Open = func(functions.Digest) (io.ReadCloser, int64, error) {
		return io.NopCloser(strings.NewReader("lies")), 4, nil
	}
	if _, err := c.Deploy(t.Context(), b); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("got %v, want %v", err, functions.ErrInvalid)
	}
}

func TestPutBlob(t *testing.T) {
	c, _, _ := start(t)
	data := []byte("a blob")
	opened := 0
	open := func() (io.ReadCloser, error) {
		opened++
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	a := functions.Attach("text/plain", data)
	for range 2 {
		if err := c.PutBlob(t.Context(), a.Digest, a.Size, open); err != nil {
			t.Fatal(err)
		}
	}
	if opened != 1 {
		t.Errorf("opened %d times, want once", opened)
	}
	if got, err := c.ReadBlob(t.Context(), a.Blob); err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestNoServer(t *testing.T) {
	srv := httptest.NewServer(nil)
	srv.Close()
	c, err := client.New(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"Run":     func() error { _, err := client.Run(t.Context(), c, shoutChain, Question{}); return err },
		"RunJSON": func() error { _, err := c.RunJSON(t.Context(), "x", nil); return err },
		"List":    func() error { _, err := c.List(t.Context()); return err },
		"Post":    func() error { _, err := c.Post(t.Context(), "x", "text/plain", strings.NewReader("x")); return err },
		"PutBlob": func() error { return c.PutBlob(t.Context(), functions.DigestOf(nil), 0, nil) },
	} {
		if err := call(); !errors.Is(err, functions.ErrUnavailable) || !functions.Retryable(err) || !strings.Contains(err.Error(), "catenary serve") {
			t.Errorf("%s: got %v, want a retryable %v with the remedy", name, err, functions.ErrUnavailable)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Run(ctx, c, shoutChain, Question{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestNew_RefusesWhatIsNoURL(t *testing.T) {
	for _, bad := range []string{"", "127.0.0.1:8372", "ftp://x", "http://"} {
		if _, err := client.New(bad); !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("New(%q): got %v, want %v", bad, err, functions.ErrInvalid)
		}
	}
}
