package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sandbox/plugin/pluginv1"
	"github.com/catenary-run/catenary/sdk"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

// request is the input of the test's function.
type request struct {
	Do   string    `json:"do"`
	Blob *sdk.Blob `json:"blob,omitempty"`
}

var shout = sdk.NewFunc[request, sdk.Stream[sdk.Blob]]("shout")

// shouting does what the request says; its blobs come back in upper case, one for each word.
func shouting(ctx context.Context, in request) (sdk.Stream[sdk.Blob], error) {
	switch in.Do {
	case "invalid":
		return nil, fmt.Errorf("%w: too quiet", functions.ErrInvalid)
	case "interrupted":
		return nil, fmt.Errorf("%w: turn 4", sdk.ErrInterrupted)
	case "fail":
		return nil, errors.New("hoarse")
	case "long":
		return nil, errors.New(strings.Repeat("ä", maxReason))
	case "panic":
		panic("lost my voice")
	case "generate":
		_, err := sdk.Generate(ctx, "llm", functions.Generation{})
		return nil, err
	case "wait":
		<-ctx.Done()
		return nil, ctx.Err()
	case "log":
		for _, level := range []slog.Level{slog.LevelDebug - 4, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
			sdk.Log(ctx, level, "two\nlines \xff")
		}
		return nil, nil
	}
	data, err := sdk.ReadBlob(ctx, *in.Blob)
	if err != nil {
		return nil, err
	}
	return func(yield func(sdk.Blob, error) bool) {
		for _, w := range bytes.Fields(data) {
			b, err := sdk.NewBlob(ctx, "text/plain", bytes.ToUpper(w))
			if !yield(b, err) {
				return
			}
		}
	}, nil
}

// TestMain makes this test's program a plugin when it is told to be one.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_PLUGIN") == "1" {
		Serve(shout, shouting, OnStart(func() error { return errors.New("no throat") }))
	}
	os.Exit(m.Run())
}

// connect serves the function over a connection in memory. The second result is the plugin's standard error.
func connect(t *testing.T) (pluginv1.PluginClient, *os.File) {
	t.Helper()
	contract, err := shout.Describe()
	if err != nil {
		t.Fatal(err)
	}
	return connectTo(t, contract, sdk.NewHandler(value.Codec{}, shout, shouting))
}

// connectTo serves a handler. When the test ends all that it began for its calls must have ended, too.
func connectTo(t *testing.T, contract sdk.FuncDescription, handle sdk.Handler) (pluginv1.PluginClient, *os.File) {
	t.Helper()
	stderr, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	srv := &server{contract: contract, handle: handle, stderr: stderr}
	srv.output.Do(func() {}) // the test keeps its outputs
	g := srv.newGRPC(nil)
	pluginv1.RegisterPluginServer(g, srv)
	lis := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- g.Serve(lis) }()
	conn, err := grpc.NewClient("passthrough:test", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		g.Stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		srv.readers.Wait()
		stderr.Close()
	})
	return pluginv1.NewPluginClient(conn), stderr
}

// call makes one call and returns what came.
func call(t *testing.T, c pluginv1.PluginClient, in request, blobs ...*pluginv1.Blob) ([]*pluginv1.Item, error) {
	t.Helper()
	stream, err := c.Handle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v, err := value.Encode(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(stream.Send(&pluginv1.Item{Value: v, Blobs: blobs, Turn: 3}), stream.CloseSend()); err != nil {
		t.Fatal(err)
	}
	var items []*pluginv1.Item
	for {
		it, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return items, nil
		}
		if err != nil {
			return items, err
		}
		items = append(items, it)
	}
}

func TestDescribe(t *testing.T) {
	c, _ := connect(t)
	got, err := c.Describe(t.Context(), &pluginv1.DescribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	in, out, err := shout.Ports()
	if err != nil {
		t.Fatal(err)
	}
	var gotIn, gotOut *functions.Schema
	if err := errors.Join(json.Unmarshal(got.InSchema, &gotIn), json.Unmarshal(got.OutSchema, &gotOut)); err != nil {
		t.Fatal(err)
	}
	want := []any{"shout", in.Schema, out.Schema, false, true, false, false}
	if diff := cmp.Diff(want, []any{got.Name, gotIn, gotOut, got.InStream, got.OutStream, got.Turns, got.Notices}); diff != "" {
		t.Error(diff)
	}
}

func TestBlobsTravelWithTheirItems(t *testing.T) {
	c, _ := connect(t)
	data := []byte("good morning")
	ref := functions.Attach("text/plain", data).Blob
	items, err := call(t, c, request{Blob: &ref}, &pluginv1.Blob{Digest: string(ref.Digest), Type: ref.Type, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	if len(items) != 2 {
		t.Fatalf("%d items, want 2", len(items))
	}
	for i, want := range []string{"GOOD", "MORNING"} {
		var got sdk.Blob
		if err := value.Decode(items[i].Value, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(functions.Attach("text/plain", []byte(want)).Blob, got); diff != "" {
			t.Error(diff)
		}
		if b := items[i].Blobs; len(b) != 1 || string(b[0].Data) != want || b[0].Digest != string(got.Digest) {
			t.Errorf("item %d carries %v, want the blob %s", i, b, want)
		}
		if items[i].Seq != uint64(i) || items[i].Turn != 3 {
			t.Errorf("item %d has number %d and turn %d", i, items[i].Seq, items[i].Turn)
		}
	}
}

func TestStatus(t *testing.T) {
	c, stderr := connect(t)
	missing := functions.Attach("text/plain", []byte("not sent")).Blob
	for _, tt := range []struct {
		in   request
		code codes.Code
		says string
	}{
		{request{Do: "invalid"}, codes.InvalidArgument, "too quiet"},
		{request{Do: "fail"}, codes.Unknown, "hoarse"},
		{request{Do: "generate"}, codes.PermissionDenied, `"llm"`},
		{request{Do: "interrupted"}, codes.Aborted, "turn 4"},
		{request{Do: "panic"}, codes.Internal, "panic: lost my voice"},
		{request{Do: "long"}, codes.Unknown, "(16384 bytes in all)"},
		{request{Blob: &missing}, codes.Unknown, "did not travel"},
	} {
		_, err := call(t, c, tt.in)
		if status.Code(err) != tt.code || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%+v: got %v, want %s that says %q", tt.in, err, tt.code, tt.says)
		}
	}
	b, err := os.ReadFile(stderr.Name())
	if err != nil || !strings.Contains(string(b), "shouting(") {
		t.Errorf("the stack of the panic is not in the log: %q, %v", b, err)
	}
}

func TestLog(t *testing.T) {
	c, stderr := connect(t)
	if _, err := call(t, c, request{Do: "log"}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(stderr.Name())
	if err != nil {
		t.Fatal(err)
	}
	var got []logLine
	for line := range bytes.Lines(b) {
		var l logLine
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatal(err)
		}
		got = append(got, l)
	}
	text := "two\nlines \uFFFD"
	if diff := cmp.Diff([]logLine{{"debug", text}, {"info", text}, {"warn", text}, {"error", text}}, got); diff != "" {
		t.Error(diff)
	}
}

// TestHealthCountsCalls cancels a call and waits until the plugin says that it has ended.
func TestHealthCountsCalls(t *testing.T) {
	c, _ := connect(t)
	running := func() uint32 {
		t.Helper()
		h, err := c.Health(t.Context(), &pluginv1.HealthRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return h.Running
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := c.Handle(ctx)
	if err != nil {
		t.Fatal(err)
	}
	v, err := value.Encode(request{Do: "wait"})
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&pluginv1.Item{Value: v}); err != nil {
		t.Fatal(err)
	}
	for running() != 1 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	for running() != 0 {
		time.Sleep(time.Millisecond)
	}
}

// endedStream is a call whose context has ended already.
type endedStream struct {
	grpc.BidiStreamingServer[pluginv1.Item, pluginv1.Item]
	ctx  context.Context
	item *pluginv1.Item
}

func (s endedStream) Context() context.Context      { return s.ctx }
func (s endedStream) Recv() (*pluginv1.Item, error) { return s.item, nil }

// TestEndedFromOutside has a call that fails when its context ends: that is no failure of the function.
func TestEndedFromOutside(t *testing.T) {
	srv := &server{handle: sdk.NewHandler(value.Codec{}, shout, shouting), stderr: os.Stderr}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	expired, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	v, err := value.Encode(request{Do: "wait"})
	if err != nil {
		t.Fatal(err)
	}
	for ctx, want := range map[context.Context]codes.Code{cancelled: codes.Canceled, expired: codes.DeadlineExceeded} {
		if err := srv.Handle(endedStream{ctx: ctx, item: &pluginv1.Item{Value: v}}); status.Code(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestProgram(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := func(env ...string) (stdout, stderr string, exit int) {
		t.Helper()
		cmd := exec.Command(self)
		cmd.Env = append([]string{"TEST_PLUGIN=1"}, env...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		_ = cmd.Run() // the exit status tells
		return out.String(), errs.String(), cmd.ProcessState.ExitCode()
	}
	t.Run("describes itself without starting", func(t *testing.T) {
		out, _, exit := run(sdk.DescribeEnv + "=1")
		var got sdk.Description
		if err := json.Unmarshal([]byte(out), &got); err != nil || exit != 0 {
			t.Fatalf("exit %d, %q: %v", exit, out, err)
		}
		want, err := shout.Describe()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(sdk.Description{Functions: []sdk.FuncDescription{want}}, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("started by hand", func(t *testing.T) {
		if out, errs, exit := run(); exit != 1 || out != "" || !strings.Contains(errs, "catenary deploy") {
			t.Errorf("exit %d, %q, %q, want a word on what to do", exit, out, errs)
		}
	})
	t.Run("start fails", func(t *testing.T) {
		if out, errs, exit := run(pluginv1.CookieKey + "=" + pluginv1.CookieValue); exit != 1 || out != "" || !strings.Contains(errs, "function shout: start: no throat") {
			t.Errorf("exit %d, %q, %q, want the reason", exit, out, errs)
		}
	})
}
