package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/invokertest"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/gateway"
	"github.com/catenary-run/catenary/internal/store"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/client"
)

// goNode runs functions in this process.
type goNode struct{ functions.Invoker }

func (goNode) Prepare(context.Context, []functions.Ref, []functions.Ref) ([]gateway.Prepared, error) {
	return nil, nil
}

func (goNode) Pools(context.Context) (gateway.Pools, error) { return gateway.Pools{}, nil }

// streamServer serves the chains echo (audio to audio), meter (audio to the bytes of each piece) and relay (numbers to
// numbers, which fails at one below zero), and returns its URL.
func streamServer(t *testing.T) string {
	t.Helper()
	each := func(ctx context.Context, in functions.Source, out functions.Sink, do func(functions.Item) (functions.Item, error)) error {
		for {
			it, err := in.Recv(ctx)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err == nil {
				it, err = do(it)
			}
			if err == nil {
				err = out.Send(ctx, it)
			}
			if err != nil {
				return err
			}
		}
	}
	echo := invokertest.New("echo", func(ctx context.Context, in functions.Source, out functions.Sink) error {
		return each(ctx, in, out, func(it functions.Item) (functions.Item, error) { return it, nil })
	})
	meter := invokertest.New("meter", func(ctx context.Context, in functions.Source, out functions.Sink) error {
		return each(ctx, in, out, func(it functions.Item) (functions.Item, error) {
			info, err := wav.Parse(it.Blobs[0].Data)
			if err != nil {
				return it, err
			}
			b, err := value.Encode(len(info.Data))
			return functions.Item{Value: b}, err
		})
	})
	relay := invokertest.New("relay", func(ctx context.Context, in functions.Source, out functions.Sink) error {
		return each(ctx, in, out, func(it functions.Item) (functions.Item, error) {
			var n int
			if err := value.Decode(it.Value, &n); err != nil || n < 0 {
				return it, fmt.Errorf("%w: %d (%v)", functions.ErrFunction, n, err)
			}
			return it, nil
		})
	})
	audio, number := functions.Port{Schema: functions.SchemaFor[functions.Audio](), Stream: true}, functions.Port{Schema: functions.SchemaFor[int](), Stream: true}
	echo.Manifest.In, echo.Manifest.Out = audio, audio
	meter.Manifest.In, meter.Manifest.Out = audio, number
	relay.Manifest.In, relay.Manifest.Out = number, number
	fns := []invokertest.Function{echo, meter, relay}

	st, err := store.Open("", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	s, err := gateway.New(gateway.DefaultConfig(), gateway.Deps{
		Catalogue: st, Blobs: st, Node: goNode{invokertest.NewLocal(invokertest.Setup{Functions: fns})},
		Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(s.Handler())
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)

	b := client.Bundle{Open: func(d functions.Digest) (io.ReadCloser, int64, error) {
		for _, f := range fns {
			if f.Manifest.Artifact == d {
				return io.NopCloser(strings.NewReader(f.Manifest.Name)), int64(len(f.Manifest.Name)), nil
			}
		}
		return nil, 0, functions.ErrNotFound
	}}
	for _, ch := range []interface {
		Describe() (sdk.ChainDescription, error)
	}{
		sdk.MustDefine("echo", func(s *sdk.Steps, in sdk.Val[sdk.Stream[sdk.Audio]]) sdk.Val[sdk.Stream[sdk.Audio]] {
			return sdk.Call(s, sdk.NewFunc[sdk.Stream[sdk.Audio], sdk.Stream[sdk.Audio]]("echo"), in)
		}),
		sdk.MustDefine("meter", func(s *sdk.Steps, in sdk.Val[sdk.Stream[sdk.Audio]]) sdk.Val[sdk.Stream[int]] {
			return sdk.Call(s, sdk.NewFunc[sdk.Stream[sdk.Audio], sdk.Stream[int]]("meter"), in)
		}),
		sdk.MustDefine("relay", func(s *sdk.Steps, in sdk.Val[sdk.Stream[int]]) sdk.Val[sdk.Stream[int]] {
			return sdk.Call(s, sdk.NewFunc[sdk.Stream[int], sdk.Stream[int]]("relay"), in)
		}),
	} {
		d, err := ch.Describe()
		if err != nil {
			t.Fatal(err)
		}
		b.Chains = append(b.Chains, d)
	}
	for _, f := range fns {
		b.Manifests = append(b.Manifests, *f.Manifest)
	}
	c, err := client.New(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Deploy(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return srv.URL
}

// TestRun_Stream sends files as streams, with the command as main runs it.
func TestRun_Stream(t *testing.T) {
	url := streamServer(t)
	dir := t.TempDir()
	const hz, samples = 8000, 2000 // two pieces of 100 ms, and half of one
	file := append(wav.Header(hz, 1, 2*samples), bytes.Repeat([]byte{1, 2}, samples)...)
	spoken := filepath.Join(dir, "spoken.wav")
	if err := os.WriteFile(spoken, file, 0o644); err != nil {
		t.Fatal(err)
	}
	numbers := filepath.Join(dir, "numbers.json")
	if err := os.WriteFile(numbers, []byte("1 2\n3"), 0o644); err != nil {
		t.Fatal(err)
	}
	answer := filepath.Join(dir, "answer.wav")
	for _, test := range []struct {
		name string
		args []string
		code int
		want string // of stdout
		talk string // that stderr has
	}{
		{"a wav at the pace of speech", []string{"meter", spoken}, exitOK, "1600\n1600\n800\n", ""},
		{"a wav, fast", []string{"meter", spoken, "--fast"}, exitOK, "1600\n1600\n800\n", ""},
		{"audio out", []string{"echo", spoken, "--fast", "--out", answer}, exitOK, "", ""},
		{"each value of JSON", []string{"relay", numbers}, exitOK, "1\n2\n3\n", ""},
		{"with a step observed", []string{"relay", "--in", "4", "--observe", "relay"}, exitOK, "4\n", "relay 4\n"},
		{"a failure", []string{"relay", "--in=-1"}, exitFailed, "", "step relay"},
		{"a chain that is not there", []string{"nope", spoken}, exitFailed, "", "not found"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out, talk bytes.Buffer
			code := run(t.Context(), append([]string{"run", "--stream", "--server", url}, test.args...), strings.NewReader(""), &out, &talk)
			if code != test.code || out.String() != test.want || !strings.Contains(talk.String(), test.talk) {
				t.Errorf("exit code %d, want %d\nstdout %q, want %q\nstderr %q, want %q", code, test.code, out.String(), test.want, talk.String(), test.talk)
			}
		})
	}
	got, err := os.ReadFile(answer)
	if err != nil || !bytes.Equal(got, file) {
		t.Errorf("the answer has %d bytes (%v), want the file that was sent, %d", len(got), err, len(file))
	}
}

func TestRun_FastNeedsStream(t *testing.T) {
	var talk bytes.Buffer
	if code := run(t.Context(), []string{"run", "--fast", "x", "--in", "1"}, nil, io.Discard, &talk); code != exitUsage || !strings.Contains(talk.String(), "--stream") {
		t.Errorf("exit code %d, %s", code, talk.String())
	}
}

// TestInterrupts: the first Ctrl-C interrupts, the second ends; SIGTERM ends at once.
func TestInterrupts(t *testing.T) {
	for _, test := range []struct {
		signals     []os.Signal
		interrupted int
		ends        bool
	}{
		{nil, 0, false},
		{[]os.Signal{os.Interrupt}, 1, false},
		{[]os.Signal{os.Interrupt, os.Interrupt}, 1, true},
		{[]os.Signal{syscall.SIGTERM}, 0, true},
	} {
		signals, over := make(chan os.Signal), make(chan struct{})
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan struct{})
		interrupted := 0
		go func() {
			defer close(ended)
			interrupts(signals, over, func() { interrupted++ }, cancel)
		}()
		for _, sig := range test.signals {
			signals <- sig
		}
		if !test.ends {
			close(over)
		}
		<-ended
		if interrupted != test.interrupted || errors.Is(context.Cause(ctx), errSignalled) != test.ends {
			t.Errorf("%v: %d interruptions, cause %v", test.signals, interrupted, context.Cause(ctx))
		}
		cancel(nil)
	}
}
