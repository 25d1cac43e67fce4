package gateway

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/coder/websocket"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// calls is an Invoker that shows the calls that go through it.
type calls struct {
	functions.Invoker
	seen chan functions.Call
}

func (c *calls) Invoke(ctx context.Context, call functions.Call, in functions.Source, out functions.Sink) (functions.Timing, error) {
	c.seen <- call
	return c.Invoker.Invoke(ctx, call, in, out)
}

// TestDoors_TellTheCaller: whichever door a run comes by, its calls name its caller and have the priority of its chain.
func TestDoors_TellTheCaller(t *testing.T) {
	w := newWorld(t, nil)
	node := &calls{w.node.Invoker, make(chan functions.Call, 1)}
	w.node.Invoker = node
	urgent := single("letters")
	urgent.Priority = spec.PriorityInteractive
	if _, err := w.rpc.Deploy(t.Context(), &catenaryv1.DeployRequest{Chains: []*catenaryv1.ChainSpec{{Json: urgent.Canonical()}}}); err != nil {
		t.Fatal(err)
	}
	named := func(ctx context.Context, caller string) context.Context {
		ctx, info := connect.NewClientContext(ctx)
		if caller != "" {
			info.RequestHeader().Set(catenaryv1.CallerHeader, caller)
		}
		return ctx
	}
	post := func(accept string) func(t *testing.T, caller string) {
		return func(t *testing.T, caller string) {
			header := []string{"Accept", accept}
			if caller != "" {
				header = append(header, catenaryv1.CallerHeader, caller)
			}
			if got := w.curl(t, "POST", "/chains/letters", "text/plain", []byte("x"), header...); got.status != 200 {
				t.Errorf("%+v", got)
			}
		}
	}
	doors := map[string]func(t *testing.T, caller string){
		"plain": post("*/*"),
		"SSE":   post("text/event-stream"),
		"WebSocket": func(t *testing.T, caller string) {
			header := http.Header{}
			if caller != "" {
				header.Set(catenaryv1.CallerHeader, caller)
			}
			conn, _, err := websocket.Dial(t.Context(), strings.Replace(w.url, "http", "ws", 1)+"/chains/letters", &websocket.DialOptions{HTTPHeader: header})
			if err != nil {
				t.Fatal(err)
			}
			v := &socketVisit{t: t, conn: conn}
			v.say("x", 0)
			v.finish()
			for kind := ""; kind != eventEnd; {
				kind = v.hear().Kind
			}
		},
	}
	for name, opts := range protocols {
		c := catenaryv1.NewChainServiceClient(w.http, w.url, opts...)
		doors["Run/"+name] = func(t *testing.T, caller string) {
			if _, err := c.Run(named(t.Context(), caller), &catenaryv1.RunRequest{Chain: "letters", Json: []byte(`"x"`)}); err != nil {
				t.Error(err)
			}
		}
		if strings.Contains(name, "Web") {
			continue // it has no Stream
		}
		doors["Stream/"+name] = func(t *testing.T, caller string) {
			stream, err := c.Stream(named(t.Context(), caller))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range []*catenaryv1.StreamRequest{open("letters"), input(`"x"`)} {
				if err := stream.Send(m); err != nil {
					t.Fatal(err)
				}
			}
			_ = stream.CloseRequest()
			for err == nil {
				_, err = stream.Receive()
			}
		}
	}
	for door, visit := range doors {
		for _, caller := range []string{"ann@example.com", ""} {
			t.Run(door+"/"+caller, func(t *testing.T) {
				visit(t, caller)
				if call := <-node.seen; call.Caller != caller || call.Priority != functions.PriorityInteractive {
					t.Errorf("a call of %q with priority %q, want %q and %q", call.Caller, call.Priority, caller, functions.PriorityInteractive)
				}
			})
		}
	}
}

func TestCaller_Names(t *testing.T) {
	w := newWorld(t, nil)
	for _, name := range []string{"", "ann smith", "änn", "a\tb", strings.Repeat("x", maxCaller+1)} {
		got := w.curl(t, "POST", "/chains/shout", "text/plain", []byte("x"), catenaryv1.CallerHeader, name)
		if got.status != http.StatusBadRequest || got.code(t) != "invalid_argument" {
			t.Errorf("%q: %+v", name, got)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", w.url+"/chains/shout", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{catenaryv1.CallerHeader: {"ann", "bob"}, "Content-Type": {"text/plain"}}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("two names: %s", resp.Status)
	}
	if got := w.curl(t, "POST", "/chains/shout", "text/plain", []byte("x"), catenaryv1.CallerHeader, strings.Repeat("x", maxCaller)); got.body != "X" {
		t.Errorf("the longest name: %+v", got)
	}
}
