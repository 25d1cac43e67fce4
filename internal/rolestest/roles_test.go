package rolestest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/functions"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
	"github.com/catenary-run/catenary/internal/rolestest/testdata/contract"
	"github.com/catenary-run/catenary/internal/testkit"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/client"
)

// TestGatewayAndNode runs the doors in one process and the functions in another.
func TestGatewayAndNode(t *testing.T) {
	redis := testkit.StartRedis(t, testkit.FreePort(t))
	nodeFlags := []string{"--role", "node", "--store", redis.URL(), "--data", t.TempDir()}
	node := testkit.Serve(t, nodeFlags...)
	gatewayFlags := []string{"--role", "gateway", "--node", node.URL, "--store", redis.URL(), "--data", t.TempDir()}
	gateway := testkit.Serve(t, gatewayFlags...)

	t.Run("hello", func(t *testing.T) {
		hello.deploy(t, gateway)
		if n := strings.Count(node.Talk(), `msg="function loaded"`); n != 2 {
			t.Errorf("the deploy prepared %d functions on the node, want 2", n)
		}
		for in, want := range map[string]string{`{"name":"Ada","age":36}`: `"Good day, Ada."`, `{"name":"Tom","age":7}`: `"Hi Tom!"`} {
			if got := ask(t, gateway, "hello", in); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		pools, err := connect(t, gateway).Pools(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range pools.Functions {
			names = append(names, f.Name)
		}
		if diff := cmp.Diff(names, []string{"greet", "greet-child"}); diff != "" {
			t.Errorf("the pools of the node through the gateway: got- want+\n%s", diff)
		}
	})
	t.Run("no doors on a node", func(t *testing.T) {
		resp, err := http.Post(node.URL+"/chains/hello", "application/json", strings.NewReader(`{"name":"Ada","age":36}`))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("a node answers %s at the door of a chain", resp.Status)
		}
	})

	drip.deploy(t, gateway)
	t.Run("items cross one by one", func(t *testing.T) {
		// The stream has no end, so whatever arrives was sent before the last item was made.
		want := int64(0)
		for v, err := range endless(t.Context(), t, gateway) {
			if err != nil {
				t.Fatal(err)
			}
			if v.Seq != uint64(want) {
				t.Fatalf("got item %d, want %d", v.Seq, want)
			}
			if want++; want == 100 {
				break // cancels the run
			}
		}
		settled(t, gateway)
	})
	t.Run("a session crosses in full duplex", func(t *testing.T) {
		s, err := client.Start(t.Context(), connect(t, gateway), contract.RelayChain)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		say := func(n int) {
			t.Helper()
			if err := s.Send(t.Context(), sdk.Msg[int]{Value: n}); err != nil {
				t.Fatal(err)
			}
		}
		hear := func(want client.Reply[int]) {
			t.Helper()
			got, err := s.Recv(t.Context())
			got.Seq = 0
			if err != nil || !cmp.Equal(got, want) {
				t.Fatalf("got %+v, %v, want %+v", got, err, want)
			}
		}
		for i := range 20 { // each answer comes before the next question
			say(i)
			hear(client.Reply[int]{Msg: sdk.Msg[int]{Value: i}})
		}
		say(-1)
		if err := s.Interrupt(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		hear(client.Reply[int]{TurnOver: true})
		hear(client.Reply[int]{Msg: sdk.Msg[int]{Value: -1, Turn: 1}})
		s.CloseSend()
		if _, err := s.Recv(t.Context()); err != io.EOF {
			t.Errorf("got %v, want the end", err)
		}
		settled(t, gateway)
	})
	t.Run("a session that is closed ends on the node", func(t *testing.T) {
		s, err := client.Start(t.Context(), connect(t, gateway), contract.RelayChain)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(t.Context(), sdk.Msg[int]{Value: -1}); err != nil {
			t.Fatal(err)
		}
		running(t, gateway)
		s.Close()
		settled(t, gateway)
	})
	t.Run("a cancelled call ends on the node", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan error, 1)
		go func() { // joined below
			_, err := connect(t, gateway).RunJSON(ctx, "drip", []byte(`{"count":-2}`))
			ended <- err
		}()
		running(t, gateway)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
		settled(t, gateway)
	})
	t.Run("a deadline ends the call on the node", func(t *testing.T) {
		short := testkit.Serve(t, append([]string{"--timeout", "2s"}, gatewayFlags...)...)
		_, err := connect(t, short).RunJSON(t.Context(), "drip", []byte(`{"count":-2}`))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
		}
		settled(t, gateway)
		if got := ask(t, gateway, "drip", `{"count":2}`); got != "[0,1]" {
			t.Errorf("the next call: got %s", got)
		}
	})
	whole := t
	t.Run("the node dies", func(t *testing.T) {
		var err error
		killed := false
		for _, err = range endless(t.Context(), t, gateway) {
			if err == nil && !killed {
				node.Kill(t)
				killed = true
			}
		}
		lost(t, "the call under way", err)
		_, err = connect(t, gateway).RunJSON(t.Context(), "drip", []byte(`{"count":2}`))
		lost(t, "a call meanwhile", err)

		node = serveAt(whole, node, nodeFlags...) // it outlives this part
		if got := ask(t, gateway, "drip", `{"count":2}`); got != "[0,1]" {
			t.Errorf("with the node back: got %s", got)
		}
		if got := ask(t, gateway, "hello", `{"name":"Tom","age":7}`); got != `"Hi Tom!"` {
			t.Errorf("with the node back: got %s", got)
		}
	})
	t.Run("the store dies", func(t *testing.T) {
		redis.Stop(t)
		if got := ask(t, gateway, "hello", `{"name":"Tom","age":7}`); got != `"Hi Tom!"` {
			t.Errorf("without Redis: got %s", got)
		}
		_, err := connect(t, gateway).Deploy(t.Context(), bundle(t))
		unavailable(t, redis, err)
	})
}

// endless runs drip without end and yields its values.
func endless(ctx context.Context, t *testing.T, s *testkit.Server) func(yield func(*client.Value, error) bool) {
	return func(yield func(*client.Value, error) bool) {
		for ev, err := range connect(t, s).Events(ctx, "drip", []byte(`{"count":-1}`)) {
			if !yield(ev.Value, err) {
				return
			}
		}
	}
}

// running waits until a call runs on the gateway's node.
func running(t *testing.T, gateway *testkit.Server) {
	t.Helper()
	c := connect(t, gateway)
	testkit.Eventually(t, "the call to run", func() bool {
		pools, err := c.Pools(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(pools.Functions, func(f *catenaryv1.FunctionPool) bool { return f.Busy > 0 })
	})
}

// lost checks an error of a call whose node is gone.
func lost(t *testing.T, what string, err error) {
	t.Helper()
	f, ok := errors.AsType[*functions.Failure](err)
	if !ok || !errors.Is(err, functions.ErrUnavailable) || !f.Retryable || f.Chain != "drip" || f.Step != "drip" || strings.Count(err.Error(), "step drip") != 1 {
		t.Errorf("%s: got %v, want a retryable %v of step drip", what, err, functions.ErrUnavailable)
	}
}

// TestSharedFolder: a gateway and a node on one machine share a folder as their store.
func TestSharedFolder(t *testing.T) {
	store := t.TempDir()
	node := testkit.Serve(t, "--role", "node", "--store", store, "--data", t.TempDir())
	gateway := testkit.Serve(t, "--role", "gateway", "--node", node.URL, "--store", store, "--data", t.TempDir())
	drip.deploy(t, gateway)
	resp, err := http.Post(gateway.URL+"/chains/drip", "application/json", strings.NewReader(`{"count":3}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if want := "0\n1\n2\n"; err != nil || string(body) != want {
		t.Errorf("got %q, %v; want %q", body, err, want)
	}
}
