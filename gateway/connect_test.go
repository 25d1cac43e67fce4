package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"github.com/catenary-run/catenary/functions"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
	"github.com/google/go-cmp/cmp"
)

var protocols = map[string][]connect.ClientOption{
	"Connect":      nil,
	"Connect JSON": {connect.WithProtoJSON()},
	"gRPC":         {connect.WithGRPC()},
	"gRPC-Web":     {connect.WithGRPCWeb()},
}

func TestRun_EveryProtocol(t *testing.T) {
	w := newWorld(t, nil)
	for name, opts := range protocols {
		t.Run(name, func(t *testing.T) {
			c := catenaryv1.NewChainServiceClient(w.http, w.url, opts...)
			resp, err := c.Run(t.Context(), &catenaryv1.RunRequest{Chain: "split", Json: []byte(`{"text":"a b"}`)})
			if err != nil {
				t.Fatal(err)
			}
			if got, want := string(resp.Json), `[{"n":0,"word":"a"},{"n":1,"word":"b"}]`; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if !strings.HasPrefix(resp.Graph, "sha256:") || len(resp.Timing) != 1 || resp.Timing[0].Step != "step" || resp.Timing[0].Calls != 1 {
				t.Errorf("graph %q, timing %v", resp.Graph, resp.Timing)
			}
			_, err = c.Run(t.Context(), &catenaryv1.RunRequest{Chain: "shout", Json: []byte(`"refuse"`)})
			if connect.CodeOf(err) != connect.CodeFailedPrecondition {
				t.Errorf("code %v, want %v (%v)", connect.CodeOf(err), connect.CodeFailedPrecondition, err)
			}
			if f := catenaryv1.FailureIn(err); f.GetStep() != "step" || f.GetChain() != "shout" || f.GetCode() != "function" {
				t.Errorf("failure %v", f)
			}
		})
	}
}

func TestRun_CurlWithJSON(t *testing.T) {
	w := newWorld(t, nil)
	got := w.curl(t, "POST", "/catenary.v1.ChainService/Run", "application/json", []byte(`{"chain":"shout","json":"ImhpIg=="}`))
	var resp struct{ JSON []byte }
	if err := json.Unmarshal([]byte(got.body), &resp); err != nil || string(resp.JSON) != `"HI"` {
		t.Errorf("status %d, %s (%v)", got.status, got.body, err)
	}
}

func TestRun_Faults(t *testing.T) {
	w := newWorld(t, nil)
	for _, test := range []struct {
		name, chain, in string
		want            connect.Code
	}{
		{"unknown chain", "nope", `"x"`, connect.CodeNotFound},
		{"no input", "shout", ``, connect.CodeInvalidArgument},
		{"another type", "shout", `{}`, connect.CodeInvalidArgument},
		{"a trap", "shout", `"trap"`, connect.CodeInternal},
		{"internal", "shout", `"secret"`, connect.CodeInternal},
		{"cold", "shout", `"cold"`, connect.CodeUnavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := w.rpc.Run(t.Context(), &catenaryv1.RunRequest{Chain: test.chain, Json: []byte(test.in)})
			if connect.CodeOf(err) != test.want {
				t.Errorf("code %v, want %v (%v)", connect.CodeOf(err), test.want, err)
			}
			if err != nil && strings.Contains(err.Error(), "/secret/path") {
				t.Errorf("the cause is shown: %v", err)
			}
		})
	}
}

func TestRun_BodyTooLarge(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxBody = 100_000 })
	_, err := w.rpc.Run(t.Context(), &catenaryv1.RunRequest{Chain: "shout", Json: make([]byte, 200_000)})
	if f := catenaryv1.FailureIn(err); connect.CodeOf(err) != connect.CodeResourceExhausted || f.GetCode() != "memory_limit" || !strings.Contains(f.GetMessage(), "--max-body") {
		t.Errorf("got %v, want %v with the remedy", err, connect.CodeResourceExhausted)
	}
}

// TestRun_BodyTooLargeHowever it is sent, the error is ours.
func TestRun_BodyTooLargeHowever(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxBody = 100_000 })
	body := `{"chain":"shout","json":"` + strings.Repeat("A", 200_000) + `"}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+catenaryv1.ChainServiceRunProcedure, io.MultiReader(strings.NewReader(body))) // of no known length
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(string(said), "--max-body") {
		t.Errorf("status %d, %v: %s", resp.StatusCode, err, said)
	}
	_, err = exchange(t, w.rpc, open("shout"), input(`"`+strings.Repeat("x", 200_000)+`"`))
	if f := catenaryv1.FailureIn(err); f.GetCode() != "memory_limit" || !strings.Contains(f.GetMessage(), "--max-body") {
		t.Errorf("Stream: got %v", err)
	}
	if _, err := w.rpc.Run(t.Context(), &catenaryv1.RunRequest{Chain: "shout", Json: []byte(`"x"`)}); err != nil {
		t.Error(err)
	}
}

func TestRun_AnswerTooLarge(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxItem = 1000 })
	_, err := w.rpc.Run(t.Context(), &catenaryv1.RunRequest{Chain: "letters", Json: []byte(`"` + strings.Repeat("x", 500) + `"`)})
	if f := catenaryv1.FailureIn(err); f.GetCode() != "output_limit" {
		t.Errorf("got %v, want an output limit", err)
	}
}

// exchange is one Stream call: it sends the messages, closes its side and returns all replies.
func exchange(t *testing.T, c catenaryv1.ChainServiceClient, messages ...*catenaryv1.StreamRequest) ([]*catenaryv1.StreamResponse, error) {
	t.Helper()
	stream, err := c.Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.CloseResponse()
	for _, m := range messages {
		if err := stream.Send(m); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	if err := stream.CloseRequest(); err != nil {
		t.Fatal(err)
	}
	var got []*catenaryv1.StreamResponse
	for {
		m, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		if s := m.GetStarted(); s != nil {
			if s.Run == "" || s.Graph == "" || len(got) > 0 {
				t.Errorf("%v after %d messages", s, len(got))
			}
			continue
		}
		got = append(got, m)
	}
}

func open(chain string, observe ...string) *catenaryv1.StreamRequest {
	return &catenaryv1.StreamRequest{Kind: &catenaryv1.StreamRequest_Open{Open: &catenaryv1.Open{Chain: chain, Observe: observe}}}
}

func input(json string) *catenaryv1.StreamRequest {
	return &catenaryv1.StreamRequest{Kind: &catenaryv1.StreamRequest_Json{Json: []byte(json)}}
}

// kinds tells the replies apart in a few words.
func kinds(replies []*catenaryv1.StreamResponse) []string {
	var out []string
	for _, m := range replies {
		switch k := m.Kind.(type) {
		case *catenaryv1.StreamResponse_Item:
			out = append(out, "item "+string(k.Item.Json))
		case *catenaryv1.StreamResponse_Blob:
			out = append(out, "blob "+k.Blob.Type)
		case *catenaryv1.StreamResponse_Observed:
			out = append(out, "observed "+k.Observed.Step+" "+string(k.Observed.Json))
		case *catenaryv1.StreamResponse_Timing:
			out = append(out, "timing "+k.Timing.Step)
		case *catenaryv1.StreamResponse_End:
			out = append(out, "end "+k.End.GetError().GetCode())
		}
	}
	return out
}

func TestStream(t *testing.T) {
	w := newWorld(t, nil)
	for name, opts := range protocols {
		t.Run(name, func(t *testing.T) {
			c := catenaryv1.NewChainServiceClient(w.http, w.url, opts...)
			got, err := exchange(t, c, open("letters"), input(`"ab"`))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(kinds(got), []string{`item "a"`, `item "b"`, "end "}); diff != "" {
				t.Errorf("got (-) want (+):\n%s", diff)
			}
		})
	}
}

func TestStream_BlobsComeBeforeTheirItem(t *testing.T) {
	w := newWorld(t, nil)
	got, err := exchange(t, w.rpc, open("paint"), input(`"x"`))
	if err != nil || len(got) != 3 {
		t.Fatalf("%v, %v", kinds(got), err)
	}
	blob := got[0].GetBlob()
	if string(blob.GetData()) != "picture of x" || !blob.Last || blob.Type != "image/x-test" || got[1].GetItem() == nil || got[2].GetEnd() == nil {
		t.Errorf("got %v", got)
	}
}

func TestStream_Items(t *testing.T) {
	w := newWorld(t, nil)
	att := functions.Attach("audio/wav", tone(16000, 10))
	got, err := exchange(t, w.rpc,
		&catenaryv1.StreamRequest{Kind: &catenaryv1.StreamRequest_Open{Open: &catenaryv1.Open{Chain: "measure", Items: true}}},
		&catenaryv1.StreamRequest{Kind: &catenaryv1.StreamRequest_Item{Item: audioItem(t, att)}})
	if err != nil || len(got) != 2 || len(got[0].GetItem().GetItem().GetCbor()) == 0 || got[0].GetItem().Json != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestStream_Observe(t *testing.T) {
	w := newWorld(t, nil)
	got, err := exchange(t, w.rpc, open("letters", "step"), input(`"ab"`))
	if err != nil {
		t.Fatal(err)
	}
	var observed, rest []string
	for _, k := range kinds(got) { // how observed items fall between the others is open
		if strings.HasPrefix(k, "observed") {
			observed = append(observed, k)
		} else {
			rest = append(rest, k)
		}
	}
	if diff := cmp.Diff(observed, []string{`observed step "a"`, `observed step "b"`}); diff != "" {
		t.Errorf("got (-) want (+):\n%s", diff)
	}
	if diff := cmp.Diff(rest, []string{`item "a"`, `item "b"`, "timing step", "end "}); diff != "" {
		t.Errorf("got (-) want (+):\n%s", diff)
	}
}

// TestStream_RunErrors: the last message has the failure with all that the run has to say of it, and the call itself fails
// with the same.
func TestStream_RunErrors(t *testing.T) {
	w := newWorld(t, nil)
	got, err := exchange(t, w.rpc, open("split", "step"), input(`{"text":"a trap"}`))
	if f := catenaryv1.FailureIn(err); connect.CodeOf(err) != connect.CodeInternal || f.GetCode() != "trap" || f.Step != "step" {
		t.Errorf("the call ended with %v", err)
	}
	end := got[len(got)-1].GetEnd()
	if e := end.GetError(); e.GetCode() != "trap" || e.Step != "step" || e.Chain != "split" || end.Graph == "" {
		t.Errorf("the end is %v", end)
	}
	if got[len(got)-2].GetTiming() == nil {
		t.Errorf("no timing before the end: %v", kinds(got))
	}
	got, err = exchange(t, w.rpc, open("shout"), input(`"secret"`))
	if e := got[0].GetEnd().GetError(); e.GetCode() != "internal" || strings.Contains(e.Message, "/secret/path") || e.Step != "step" || catenaryv1.FailureIn(err).GetMessage() != e.Message {
		t.Errorf("the error is %v, and %v", e, err)
	}
}

func TestStream_ProtocolErrors(t *testing.T) {
	w := newWorld(t, nil)
	for _, test := range []struct {
		name     string
		messages []*catenaryv1.StreamRequest
		want     connect.Code
	}{
		{"nothing", nil, connect.CodeInvalidArgument},
		{"no open", []*catenaryv1.StreamRequest{input(`"x"`)}, connect.CodeInvalidArgument},
		{"no input", []*catenaryv1.StreamRequest{open("shout")}, connect.CodeInvalidArgument},
		{"open twice", []*catenaryv1.StreamRequest{open("shout"), open("shout")}, connect.CodeInvalidArgument},
		{"two inputs", []*catenaryv1.StreamRequest{open("shout"), input(`"x"`), input(`"y"`)}, connect.CodeInvalidArgument},
		{"an empty message", []*catenaryv1.StreamRequest{open("shout"), {}}, connect.CodeInvalidArgument},
		{"unknown chain", []*catenaryv1.StreamRequest{open("nope"), input(`"x"`)}, connect.CodeNotFound},
		{"unknown step", []*catenaryv1.StreamRequest{open("shout", "nope"), input(`"x"`)}, connect.CodeInvalidArgument},
		{"wrong type", []*catenaryv1.StreamRequest{open("shout"), input(`7`)}, connect.CodeInvalidArgument},
		{"no value", []*catenaryv1.StreamRequest{open("shout"), {Kind: &catenaryv1.StreamRequest_Item{Item: &catenaryv1.Item{}}}}, connect.CodeInvalidArgument},
		{"broken value", []*catenaryv1.StreamRequest{open("shout"), {Kind: &catenaryv1.StreamRequest_Item{Item: &catenaryv1.Item{Cbor: []byte{0x7f}}}}}, connect.CodeInvalidArgument},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := exchange(t, w.rpc, test.messages...)
			if connect.CodeOf(err) != test.want || len(got) != 0 {
				t.Errorf("code %v, want %v (%v); %d replies", connect.CodeOf(err), test.want, err, len(got))
			}
			if catenaryv1.FailureIn(err) == nil {
				t.Errorf("no failure in %v", err)
			}
		})
	}
}

func TestStream_CancelEndsTheRun(t *testing.T) {
	w := newWorld(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := w.rpc.Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(stream.Send(open("drip")), stream.Send(input(`"x"`)), stream.CloseRequest()); err != nil {
		t.Fatal(err)
	}
	if m, err := stream.Receive(); err != nil || m.GetStarted() == nil {
		t.Fatalf("%v, %v, want that the run has begun", m, err)
	}
	if m, err := stream.Receive(); err != nil || string(m.GetItem().GetJson()) != `"first"` {
		t.Fatalf("%v, %v", m, err)
	}
	<-w.gate.begun
	cancel()
	if err := <-w.gate.ended; err == nil {
		t.Error("the function went on")
	}
	_ = stream.CloseResponse()
}

func TestStream_NeedsHTTP2(t *testing.T) {
	w := newWorld(t, nil)
	got := w.curl(t, "POST", catenaryv1.ChainServiceStreamProcedure, "application/connect+json", nil)
	if got.status != http.StatusHTTPVersionNotSupported {
		t.Errorf("status %d, want 505", got.status)
	}
}

func TestListAndPools(t *testing.T) {
	w := newWorld(t, nil)
	resp, err := w.rpc.List(t.Context(), &catenaryv1.ListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range resp.Chains {
		got = append(got, c.Name+": "+c.In+" -> "+c.Out)
	}
	want := []string{
		"drip: string -> Stream[string]", "letters: string -> Stream[string]", "measure: Audio -> Measure", "paint: string -> Blob",
		"shout: string -> string", "sing: string -> Stream[Audio]", "slow: string -> string", "split: Question -> Stream[Word]",
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("got (-) want (+):\n%s", diff)
	}
	pools, err := w.rpc.Pools(t.Context(), &catenaryv1.PoolsRequest{})
	if err != nil || len(pools.Functions) != 1 || pools.Functions[0].WakeMs != 1.5 {
		t.Errorf("%v, %v", pools, err)
	}
}

func TestReflection(t *testing.T) {
	w := newWorld(t, nil)
	c := grpcreflect.NewClient(w.http, w.url)
	stream := c.NewStream(t.Context())
	defer stream.Close()
	names, err := stream.ListServices()
	if err != nil || len(names) != 2 {
		t.Fatalf("%v, %v", names, err)
	}
	files, err := stream.FileContainingSymbol(catenaryv1.ChainServiceName)
	if err != nil || len(files) == 0 {
		t.Errorf("%d files, %v", len(files), err)
	}
}

func TestHealth(t *testing.T) {
	w := newWorld(t, nil)
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200} {
		if got := w.curl(t, "GET", path, "", nil); got.status != want {
			t.Errorf("%s: status %d", path, got.status)
		}
	}
	if got := w.curl(t, "GET", "/metrics", "", nil); !strings.Contains(got.body, `catenary_gateway_requests_total{code="ok",door="deploy"} 1`) {
		t.Errorf("metrics:\n%s", got.body)
	}
	if status, err := w.health(t, catenaryv1.ChainServiceName); err != nil || status != "SERVING_STATUS_SERVING" {
		t.Errorf("%q, %v", status, err)
	}
	if _, err := w.health(t, "nope"); err == nil {
		t.Error("an unknown service has a health")
	}
	w.s.draining.Store(true)
	if status, err := w.health(t, ""); err != nil || status != "SERVING_STATUS_NOT_SERVING" {
		t.Errorf("%q, %v", status, err)
	}
}

// health asks as a probe does, by Connect's JSON.
func (w *world) health(t *testing.T, service string) (string, error) {
	got := w.curl(t, "POST", "/"+grpchealth.HealthV1ServiceName+"/Check", "application/json", []byte(`{"service":"`+service+`"}`))
	if got.status != 200 {
		return "", errors.New(got.body)
	}
	var resp struct{ Status string }
	err := json.Unmarshal([]byte(got.body), &resp)
	return resp.Status, err
}

func TestPanicIsAnInternalError(t *testing.T) {
	w := newWorld(t, nil)
	h := w.s.track(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("broken invariant") }))
	rec := newRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	if rec.Code != 500 || strings.Contains(rec.Body.String(), "invariant") || !strings.Contains(rec.Body.String(), "internal error, id") {
		t.Errorf("status %d, %s", rec.Code, rec.Body)
	}
	if log := w.log.String(); !strings.Contains(log, "broken invariant") || !strings.Contains(log, "TestPanicIsAnInternalError") {
		t.Errorf("the log has no stack:\n%s", log)
	}
}

func TestRun_TooManyRunsAndDrainInEveryProtocol(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxRuns = 1 })
	for name, opts := range protocols {
		t.Run(name, func(t *testing.T) {
			c := catenaryv1.NewChainServiceClient(w.http, w.url, opts...)
			check := func(want connect.Code) {
				t.Helper()
				_, err := c.Run(t.Context(), &catenaryv1.RunRequest{Chain: "shout", Json: []byte(`"x"`)})
				if connect.CodeOf(err) != want || catenaryv1.FailureIn(err) == nil {
					t.Errorf("Run: got %v, want %v with a failure", err, want)
				}
				_, err = exchange(t, c, open("shout"), input(`"x"`))
				if connect.CodeOf(err) != want || catenaryv1.FailureIn(err) == nil {
					t.Errorf("Stream: got %v, want %v with a failure", err, want)
				}
			}
			w.s.runs <- struct{}{}
			check(connect.CodeResourceExhausted)
			<-w.s.runs
			w.s.draining.Store(true)
			defer w.s.draining.Store(false)
			check(connect.CodeUnavailable)
		})
	}
}

func TestCallTimeout_EveryProtocol(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.CallTimeout = 20e6 })
	for name, opts := range protocols {
		t.Run(name, func(t *testing.T) {
			c := catenaryv1.NewChainServiceClient(w.http, w.url, opts...)
			_, err := c.Run(t.Context(), &catenaryv1.RunRequest{Chain: "slow", Json: []byte(`"x"`)})
			if connect.CodeOf(err) != connect.CodeDeadlineExceeded || !strings.Contains(err.Error(), "limit for one call") {
				t.Errorf("Run: got %v", err)
			}
			got, err := exchange(t, c, open("slow"), input(`"x"`))
			if connect.CodeOf(err) != connect.CodeDeadlineExceeded || got[len(got)-1].GetEnd().GetError().GetCode() != "deadline" {
				t.Errorf("Stream: got %v, %v", kinds(got), err)
			}
		})
	}
	t.Run("a caller that sends nothing", func(t *testing.T) {
		stream, err := w.rpc.Stream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer stream.CloseResponse()
		if err := stream.Send(open("slow")); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Receive(); connect.CodeOf(err) != connect.CodeDeadlineExceeded {
			t.Errorf("got %v, want %v", err, connect.CodeDeadlineExceeded)
		}
		_ = stream.CloseRequest()
	})
}

func TestCallerTimeout_ReachesTheFunction(t *testing.T) {
	w := newWorld(t, nil)
	for name, opts := range protocols {
		t.Run(name, func(t *testing.T) {
			c := catenaryv1.NewChainServiceClient(w.http, w.url, opts...)
			ctx, cancel := context.WithTimeout(t.Context(), 50e6)
			defer cancel()
			_, err := c.Run(ctx, &catenaryv1.RunRequest{Chain: "slow", Json: []byte(`"x"`)})
			if connect.CodeOf(err) != connect.CodeDeadlineExceeded {
				t.Errorf("got %v, want %v", err, connect.CodeDeadlineExceeded)
			}
		})
	}
	for len(w.gate.begun) > 0 { // those that began have ended
		<-w.gate.begun
		if err := <-w.gate.ended; err == nil {
			t.Error("a function went on")
		}
	}
}

func TestStream_BackPressure(t *testing.T) {
	const size, items = 64 << 10, 1000
	var sent atomic.Int64
	flood := function("flood", port[string](false), port[string](true), func(_ context.Context, _ string, _ functions.Item, send sendFunc) error {
		for range items {
			if err := send(strings.Repeat("x", size)); err != nil {
				return err
			}
			sent.Add(1)
		}
		return nil
	})
	w := newWorld(t, nil, flood)
	c := catenaryv1.NewChainServiceClient(w.http, w.url, connect.WithAcceptCompression("gzip", nil, nil)) // it would shrink to nothing
	stream, err := c.Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(stream.Send(open("flood")), stream.Send(input(`"x"`)), stream.CloseRequest()); err != nil {
		t.Fatal(err)
	}
	defer stream.CloseResponse()
	if _, err := stream.Receive(); err != nil {
		t.Fatal(err)
	}
	for same, last := 0, int64(-1); same < 50; same++ { // until the function has come to a stop
		time.Sleep(time.Millisecond)
		if now := sent.Load(); now != last {
			same, last = 0, now
		}
	}
	if n := sent.Load(); n > items/2 {
		t.Errorf("the function has sent %d of %d items, and the caller has taken none", n, items)
	}
	got := 0 // the first message was that the run has begun
	for {
		m, err := stream.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if m.GetEnd() != nil {
			break
		}
		got++
	}
	if got != items {
		t.Errorf("%d items, want %d", got, items)
	}
}
