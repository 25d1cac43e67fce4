package gateway

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/invokertest"
	"github.com/catenary-run/catenary/functions/value"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// actWorld is a world with the chains act and open: the second opens turns, and one turn interrupts the one before.
func actWorld(t *testing.T, change func(*Config)) (*world, *actor) {
	t.Helper()
	a := newActor()
	w := newWorld(t, change, a.function("act", false), a.function("open", true))
	onset := single("open")
	onset.Interrupt = spec.InterruptOnset
	if _, err := w.rpc.Deploy(t.Context(), &catenaryv1.DeployRequest{Chains: []*catenaryv1.ChainSpec{{Json: onset.Canonical()}}}); err != nil {
		t.Fatal(err)
	}
	return w, a
}

// doors open a visit whose input is one text. Limit is what the caller allows; zero says nothing.
var doors = map[string]func(t *testing.T, w *world, chain, text string, limit time.Duration) visit{
	"Connect": func(t *testing.T, w *world, chain, text string, limit time.Duration) visit {
		v := w.rpcVisit(t, chain, limit)
		v.say(text, 0)
		v.finish()
		return v
	},
	"SSE": func(t *testing.T, w *world, chain, text string, limit time.Duration) visit {
		return w.sseVisit(t, chain, text, limit)
	},
	"WebSocket": func(t *testing.T, w *world, chain, text string, limit time.Duration) visit {
		open := ""
		if limit > 0 {
			open = fmt.Sprintf(`{"open":{"timeout_ms":%d}}`, limit.Milliseconds())
		}
		v := w.socketVisit(t, chain, open)
		v.say(text, 0)
		v.finish()
		return v
	},
}

// TestDoors_TellTheSame: what happens to a run is told in the same order, with the same codes, whichever door it came by.
func TestDoors_TellTheSame(t *testing.T) {
	for _, test := range []struct {
		name        string
		chain, text string
		limit, idle time.Duration
		want        []heard
		ends        error // why the function is ended, if it holds
	}{
		{name: "it goes well", chain: "act", text: "a b", want: []heard{
			{Kind: eventItem, Value: "A"}, {Kind: eventItem, Value: "B"}, {Kind: eventEnd}}},
		{name: "a failure in the middle", chain: "act", text: "a trap b", want: []heard{
			{Kind: eventItem, Value: "A"}, {Kind: eventError, Code: "trap", Connect: connect.CodeInternal, Step: "step"}}},
		{name: "a deadline", chain: "act", text: "a hold", limit: 300 * time.Millisecond, ends: context.DeadlineExceeded, want: []heard{
			{Kind: eventItem, Value: "A"}, {Kind: eventError, Code: "deadline", Connect: connect.CodeDeadlineExceeded, Step: "step"}}},
		{name: "an idle limit", chain: "act", text: "a hold", idle: 300 * time.Millisecond, ends: functions.ErrIdleLimit, want: []heard{
			{Kind: eventItem, Value: "A"}, {Kind: eventError, Code: "idle_limit", Connect: connect.CodeDeadlineExceeded}}},
		{name: "an interruption", chain: "open", text: "turn b", want: []heard{
			{Kind: eventTurnOver}, {Kind: eventItem, Value: "B", Turn: 1}, {Kind: eventEnd}}},
	} {
		for door, visit := range doors {
			t.Run(test.name+"/"+door, func(t *testing.T) {
				t.Parallel()
				w, a := actWorld(t, func(c *Config) {
					if test.idle > 0 {
						c.StreamIdle = test.idle
					}
				})
				v := visit(t, w, test.chain, test.text, test.limit)
				var got []heard
				for {
					got = append(got, v.hear())
					if last := got[len(got)-1].Kind; last == eventEnd || last == eventError {
						break
					}
				}
				if n := len(got); n < len(test.want) && got[n-1].Kind == eventError {
					got = append(test.want[:len(test.want)-n:len(test.want)-n], got...) // a failure overtakes the items before it
				}
				if diff := cmp.Diff(got, test.want); diff != "" {
					t.Errorf("got (-) want (+):\n%s", diff)
				}
				if test.ends != nil {
					if err := <-a.ended; !errors.Is(err, test.ends) {
						t.Errorf("the function ended with %v, want %v", err, test.ends)
					}
				}
			})
		}
	}
}

func TestDoors_ACallerWhoGoesAwayEndsTheRun(t *testing.T) {
	for door, visit := range doors {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			w, a := actWorld(t, func(c *Config) { c.MaxRuns = 1 })
			v := visit(t, w, "act", "a hold", 0)
			if got := v.hear(); got.Value != "A" {
				t.Fatalf("got %v", got)
			}
			<-a.held
			v.leave()
			if err := <-a.ended; !errors.Is(err, context.Canceled) {
				t.Errorf("the function ended with %v, want %v", err, context.Canceled)
			}
			<-w.s.requests.idle()
			if n := len(w.s.runs); n != 0 {
				t.Errorf("%d slots are still taken", n)
			}
			if text := w.curl(t, "GET", "/metrics", "", nil).body; !strings.Contains(text, "catenary_cancel_to_free_seconds_count 1\n") {
				t.Errorf("the time from cancel to free was not measured:\n%s", text)
			}
		})
	}
}

// talks open a visit that says more later.
var talks = map[string]func(t *testing.T, w *world, chain string) talk{
	"Connect":   func(t *testing.T, w *world, chain string) talk { return w.rpcVisit(t, chain, 0) },
	"WebSocket": func(t *testing.T, w *world, chain string) talk { return w.socketVisit(t, chain, "") },
}

func TestDoors_FullDuplex(t *testing.T) {
	for door, open := range talks {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			w, _ := actWorld(t, func(c *Config) { c.CallTimeout = time.Minute })
			v := open(t, w, "act")
			for i, word := range []string{"a", "b", "c"} { // each answer comes before the next question
				v.say(word, uint64(i))
				want := heard{Kind: eventItem, Value: strings.ToUpper(word), Turn: uint64(i)}
				if got := v.hear(); got != want {
					t.Fatalf("got %v, want %v", got, want)
				}
			}
			v.finish()
			if got := v.hear(); got.Kind != eventEnd {
				t.Errorf("got %v, want the end", got)
			}
			<-w.s.requests.idle()
		})
	}
}

// TestDoors_StreamsHaveNoTotalLimit: a run whose input is streamed outlives the limit of one whose input is not.
func TestDoors_StreamsHaveNoTotalLimit(t *testing.T) {
	for door, open := range talks {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			const limit = 400 * time.Millisecond
			w, _ := actWorld(t, func(c *Config) { c.CallTimeout = limit })
			v := open(t, w, "act")
			v.say("a", 0)
			if got := v.hear(); got.Value != "A" {
				t.Fatalf("got %v", got)
			}
			time.Sleep(2 * limit) // what must not happen takes this long to happen
			v.say("b", 0)
			if got := v.hear(); got.Value != "B" {
				t.Fatalf("got %v", got)
			}
			v.finish()
			if got := v.hear(); got.Kind != eventEnd {
				t.Errorf("got %v, want the end", got)
			}
		})
	}
}

// TestDoors_StreamedAnswersHaveNoTotalLimit: the same holds for one value that is answered with a stream, and what is one
// message each way is limited at each door.
func TestDoors_StreamedAnswersHaveNoTotalLimit(t *testing.T) {
	const limit = 400 * time.Millisecond
	limited := func(t *testing.T) *world { return newWorld(t, func(c *Config) { c.CallTimeout = limit }) }
	for door, visit := range doors {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			w := limited(t)
			v := visit(t, w, "drip", "x", 0)
			if got := v.hear(); got.Value != "first" {
				t.Fatalf("got %v", got)
			}
			time.Sleep(2 * limit) // what must not happen takes this long to happen
			close(w.gate.open)
			if got := v.hear(); got.Value != "last" {
				t.Fatalf("got %v", got)
			}
			if got := v.hear(); got.Kind != eventEnd {
				t.Errorf("got %v, want the end", got)
			}
		})
		t.Run(door+", one value", func(t *testing.T) {
			t.Parallel()
			w := limited(t)
			if got, want := visit(t, w, "slow", "x", 0).hear(), (heard{Kind: eventError, Code: "deadline", Connect: connect.CodeDeadlineExceeded, Step: "step"}); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		w := limited(t)
		go func() {
			<-w.gate.begun
			time.Sleep(2 * limit)
			close(w.gate.open)
		}()
		if got := w.curl(t, "POST", "/chains/drip", "text/plain", []byte("x")); got.body != "firstlast" || got.err != nil {
			t.Errorf("got %q, %v", got.body, got.err)
		}
	})
	t.Run("plain, a reply that is one message", func(t *testing.T) {
		t.Parallel()
		w := limited(t)
		if got := w.curl(t, "POST", "/chains/slow", "text/plain", []byte("x")); got.status != http.StatusGatewayTimeout {
			t.Errorf("got %d: %s", got.status, got.body)
		}
		if _, err := w.rpc.Run(t.Context(), &catenaryv1.RunRequest{Chain: "drip", Json: []byte(`"x"`)}); connect.CodeOf(err) != connect.CodeDeadlineExceeded {
			t.Errorf("Run that collects a stream: got %v", err)
		}
	})
}

func TestDoors_TheCallerInterrupts(t *testing.T) {
	for door, open := range talks {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			w, _ := actWorld(t, nil)
			v := open(t, w, "act")
			v.say("a", 0)
			if got := v.hear(); got.Value != "A" {
				t.Fatalf("got %v", got)
			}
			v.interrupt(0)
			v.interrupt(0) // no news
			if got, want := v.hear(), (heard{Kind: eventTurnOver}); got != want {
				t.Fatalf("got %v, want %v", got, want)
			}
			v.say("late", 0)
			v.say("b", 1)
			if got, want := v.hear(), (heard{Kind: eventItem, Value: "B", Turn: 1}); got != want {
				t.Fatalf("got %v, want %v", got, want)
			}
			// One that follows its item at once holds, too.
			v.say("c", 2)
			v.interrupt(2)
			v.say("d", 3)
			v.finish()
			overs := 0
			for got := v.hear(); got.Kind != eventEnd; got = v.hear() {
				switch {
				case got.Kind == eventTurnOver:
					overs++
				case got.Kind != eventItem || got.Turn == 2 && overs == 2 || got.Turn < 2:
					t.Errorf("got %v after %d turns over", got, overs)
				}
			}
			if overs != 2 {
				t.Errorf("%d turns were said to be over, want 2: 1 and 2", overs)
			}
			if text := w.curl(t, "GET", "/metrics", "", nil).body; !strings.Contains(text, "catenary_gateway_turns_interrupted_total 3\n") {
				t.Errorf("the turns were not counted")
			}
		})
	}
}

// TestDoors_BadInputEndsTheRun: what breaks the protocol is the run's error.
func TestDoors_BadInputEndsTheRun(t *testing.T) {
	for name, test := range map[string]struct {
		open func(t *testing.T, w *world) visit
		code functions.Code
	}{
		"Connect, JSON that does not fit": {func(t *testing.T, w *world) visit {
			v := w.rpcVisit(t, "act", 0)
			v.send(&catenaryv1.StreamRequest{Kind: &catenaryv1.StreamRequest_Json{Json: []byte(`7`)}})
			return v
		}, "invalid"},
		"Connect, a second open": {func(t *testing.T, w *world) visit {
			v := w.rpcVisit(t, "act", 0)
			v.send(&catenaryv1.StreamRequest{Kind: &catenaryv1.StreamRequest_Open{Open: &catenaryv1.Open{Chain: "act"}}})
			return v
		}, "invalid"},
		"Connect, nothing": {func(t *testing.T, w *world) visit {
			v := w.rpcVisit(t, "act", 0)
			v.send(&catenaryv1.StreamRequest{})
			return v
		}, "invalid"},
		"Connect, a turn that jumps": {func(t *testing.T, w *world) visit {
			v := w.rpcVisit(t, "act", 0)
			v.say("a", 0)
			v.say("b", 7)
			return v
		}, "invalid"},
		"WebSocket, JSON that does not fit": {func(t *testing.T, w *world) visit { return w.socketVisit(t, "act", `{"item":{"value":7}}`) }, "invalid"},
		"WebSocket, no JSON":                {func(t *testing.T, w *world) visit { return w.socketVisit(t, "act", `hello`) }, "invalid"},
		"WebSocket, two kinds":              {func(t *testing.T, w *world) visit { return w.socketVisit(t, "act", `{"item":{"value":"a"},"end":{}}`) }, "invalid"},
		"WebSocket, an unknown kind":        {func(t *testing.T, w *world) visit { return w.socketVisit(t, "act", `{"itme":{"value":"a"}}`) }, "invalid"},
		"WebSocket, no value":               {func(t *testing.T, w *world) visit { return w.socketVisit(t, "act", `{"item":{}}`) }, "invalid"},
		"WebSocket, a late open": {func(t *testing.T, w *world) visit {
			v := w.socketVisit(t, "act", `{"open":{}}`)
			v.text(`{"open":{}}`)
			return v
		}, "invalid"},
		"WebSocket, a step that is not there": {func(t *testing.T, w *world) visit { return w.socketVisit(t, "act", `{"open":{"observe":["x"]}}`) }, "invalid"},
		"WebSocket, audio for a text": {func(t *testing.T, w *world) visit {
			v := w.socketVisit(t, "act", `{"open":{"audio":{"sample_hz":16000,"channels":1}}}`)
			if err := v.conn.Write(t.Context(), websocket.MessageBinary, make([]byte, 320)); err != nil {
				t.Fatal(err)
			}
			return v
		}, "invalid"},
		"WebSocket, a large message": {func(t *testing.T, w *world) visit {
			return w.socketVisit(t, "act", `{"item":{"value":"`+strings.Repeat("a", 80<<10)+`"}}`)
		}, "memory_limit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _ := actWorld(t, func(c *Config) { c.MaxBody = 64 << 10 })
			v := test.open(t, w)
			got := v.hear()
			for got.Kind == eventItem {
				got = v.hear()
			}
			if got.Kind != eventError || got.Code != test.code {
				t.Errorf("got %v, want the error %s", got, test.code)
			}
			<-w.s.requests.idle()
		})
	}
}

// noise returns a text of n bytes that does not compress away.
func noise(n int) string {
	b := make([]byte, n/2)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// TestDoors_ASlowCallerHoldsTheFunction: a function is no further ahead of its caller than the bounds between them.
func TestDoors_ASlowCallerHoldsTheFunction(t *testing.T) {
	// What is between a function and a caller who reads nothing: edges, and what a connection buffers.
	const size, ahead, items = 64 << 10, 24 << 20 >> 16, 500
	for door, open := range talks {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			sent := make(chan struct{}, items)
			f := invokertest.New("flood", func(ctx context.Context, in functions.Source, out functions.Sink) error {
				if _, err := in.Recv(ctx); err != nil {
					return err
				}
				v, err := value.Encode(noise(size))
				if err != nil {
					return err
				}
				for range items {
					if err := out.Send(ctx, functions.Item{Value: v}); err != nil {
						return err
					}
					sent <- struct{}{}
				}
				return nil
			})
			f.Manifest.In, f.Manifest.Out = port[string](true), port[string](true)
			w := newWorld(t, nil, f)
			v := open(t, w, "flood")
			v.say("go", 0)
			if got := v.hear(); got.Kind != eventItem {
				t.Fatalf("got %v", got.Kind)
			}
			for same, last := 0, -1; same < 50; same++ { // until it has stopped; too soon hides a fault and invents none
				time.Sleep(time.Millisecond)
				if now := len(sent); now != last {
					same, last = 0, now
				}
			}
			if n := len(sent); n > ahead {
				t.Errorf("the function has sent %d items of %d KiB, and its caller has read one", n, size>>10)
			}
			v.finish()
			n := 1
			for got := v.hear(); got.Kind == eventItem; got = v.hear() {
				n++
			}
			if n != items {
				t.Errorf("%d items came, want %d", n, items)
			}
		})
	}
}

// TestDoors_AFullRunHoldsTheCaller: what a caller sends waits in bounded queues while the function takes nothing, and the
// caller's leaving is seen all the same.
func TestDoors_AFullRunHoldsTheCaller(t *testing.T) {
	w, a := actWorld(t, nil)
	v := w.rpcVisit(t, "act", 0)
	v.say("a hold", 0)
	<-a.held
	big := noise(64 << 10)
	var taken sync.WaitGroup
	count := make(chan struct{}, 10_000)
	taken.Go(func() {
		b, _ := json.Marshal(big)
		for range cap(count) {
			if v.stream.Send(&catenaryv1.StreamRequest{Kind: &catenaryv1.StreamRequest_Json{Json: b}}) != nil {
				return
			}
			count <- struct{}{}
		}
	})
	for same, last := 0, -1; same < 50; same++ {
		time.Sleep(time.Millisecond)
		if now := len(count); now != last {
			same, last = 0, now
		}
	}
	if n := len(count); n > 24<<20>>16 {
		t.Errorf("the caller has sent %d items of 64 KiB, and the function has taken one", n)
	}
	v.leave()
	if err := <-a.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the function ended with %v, want %v", err, context.Canceled)
	}
	taken.Wait()
	<-w.s.requests.idle()
}

// TestDoors_ACallerWhoReadsNothingIsLeft: a caller who stays and takes nothing holds a run no longer than the idle limit.
func TestDoors_ACallerWhoReadsNothingIsLeft(t *testing.T) {
	for door, open := range talks {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			ended := make(chan error, 1)
			f := invokertest.New("flood", func(ctx context.Context, in functions.Source, out functions.Sink) error {
				_, err := in.Recv(ctx)
				v := append([]byte{0x7a, 0, 1, 0, 0}, noise(64<<10)...) // a text of 64 KiB in CBOR
				for err == nil {
					err = out.Send(ctx, functions.Item{Value: v})
				}
				ended <- err
				return err
			})
			f.Manifest.In, f.Manifest.Out = port[string](true), port[string](true)
			w := newWorld(t, func(c *Config) { c.StreamIdle = 300 * time.Millisecond }, f)
			v := open(t, w, "flood")
			v.say("go", 0)
			if err := <-ended; !errors.Is(err, functions.ErrIdleLimit) {
				t.Errorf("the function ended with %v, want %v", err, functions.ErrIdleLimit)
			}
			<-w.s.requests.idle() // although the caller has not gone
			if n := len(w.s.runs); n != 0 {
				t.Errorf("%d slots are still taken", n)
			}
		})
	}
}
