package client_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/invokertest"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/client"
)

// Chains whose input is a stream.
var (
	twice = sdk.NewFunc[sdk.Stream[int], sdk.Stream[int]]("twice")
	loud  = sdk.NewFunc[sdk.Stream[sdk.Audio], sdk.Stream[sdk.Audio]]("loud")
	stuck = sdk.NewFunc[sdk.Stream[int], sdk.Stream[int]]("stuck")

	twiceChain = sdk.MustDefine("twice", func(s *sdk.Steps, in sdk.Val[sdk.Stream[int]]) sdk.Val[sdk.Stream[int]] {
		return sdk.Call(s, twice, in)
	})
	finalChain = sdk.MustDefine("final", func(s *sdk.Steps, in sdk.Val[sdk.Stream[int]]) sdk.Val[int] {
		return sdk.Last(s, sdk.Call(s, twice, in))
	})
	stuckChain = sdk.MustDefine("stuck", func(s *sdk.Steps, in sdk.Val[sdk.Stream[int]]) sdk.Val[sdk.Stream[int]] {
		return sdk.Call(s, stuck, in)
	})
	loudChain = sdk.MustDefine("loud", func(s *sdk.Steps, in sdk.Val[sdk.Stream[sdk.Audio]]) sdk.Val[sdk.Stream[sdk.Audio]] {
		return sdk.Call(s, loud, in)
	})
)

// streamFunctions are those of the chains above.
func streamFunctions() []invokertest.Function {
	double := invokertest.New("twice", func(ctx context.Context, in functions.Source, out functions.Sink) error {
		for {
			it, err := in.Recv(ctx)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			var n int
			if err := value.Decode(it.Value, &n); err != nil {
				return err
			}
			if n < 0 {
				return fmt.Errorf("%w: %d", functions.ErrFunction, n)
			}
			b, err := value.Encode(2 * n)
			if err != nil {
				return err
			}
			if err := out.Send(ctx, functions.Item{Value: b, Turn: it.Turn, Time: it.Time}); err != nil {
				return err
			}
		}
	})
	double.Manifest.In, double.Manifest.Out, _ = twice.Ports()
	same := invokertest.New("loud", func(ctx context.Context, in functions.Source, out functions.Sink) error {
		for {
			it, err := in.Recv(ctx)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err == nil {
				err = out.Send(ctx, it)
			}
			if err != nil {
				return err
			}
		}
	})
	same.Manifest.In, same.Manifest.Out, _ = loud.Ports()
	// One item goes through, and no more is taken.
	one := invokertest.New("stuck", func(ctx context.Context, in functions.Source, out functions.Sink) error {
		it, err := in.Recv(ctx)
		if err == nil {
			err = out.Send(ctx, it)
		}
		if err != nil {
			return err
		}
		<-ctx.Done()
		return context.Cause(ctx)
	})
	one.Manifest.In, one.Manifest.Out, _ = stuck.Ports()
	return []invokertest.Function{double, same, one}
}

func TestStart_FullDuplex(t *testing.T) {
	c, _, _ := start(t)
	s, err := client.Start(t.Context(), c, twiceChain)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	at := time.Unix(1, 5)
	for i := range 50 { // each answer comes before the next question
		if err := s.Send(t.Context(), sdk.Msg[int]{Value: i, Turn: uint64(i / 10), Time: at}); err != nil {
			t.Fatal(err)
		}
		want := client.Reply[int]{Msg: sdk.Msg[int]{Value: 2 * i, Turn: uint64(i / 10), Time: at}, Seq: uint64(i)}
		if got, err := s.Recv(t.Context()); err != nil || !cmp.Equal(got, want) {
			t.Fatalf("got %+v, %v, want %+v", got, err, want)
		}
	}
	if err := s.Interrupt(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	for turn := range uint64(5) {
		want := client.Reply[int]{Msg: sdk.Msg[int]{Turn: turn}, TurnOver: true}
		if got, err := s.Recv(t.Context()); err != nil || !cmp.Equal(got, want) {
			t.Fatalf("got %+v, %v, want %+v", got, err, want)
		}
	}
	s.CloseSend()
	if _, err := s.Recv(t.Context()); err != io.EOF {
		t.Errorf("got %v, want the end", err)
	}
	if _, err := s.Recv(t.Context()); err != io.EOF {
		t.Errorf("again: got %v, want the end", err)
	}
	if err := s.Send(t.Context(), sdk.Msg[int]{}); !errors.Is(err, functions.ErrClosed) {
		t.Errorf("Send after CloseSend: got %v, want %v", err, functions.ErrClosed)
	}
}

// TestInterrupt_WhateverWasSent: the turn is over although 300 items wait before the interruption, and although the input
// has ended.
func TestInterrupt_WhateverWasSent(t *testing.T) {
	for _, closed := range []bool{false, true} {
		t.Run(fmt.Sprintf("closed %v", closed), func(t *testing.T) {
			c, _, _ := start(t)
			s, err := client.Start(t.Context(), c, stuckChain)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			for i := range 301 {
				if err := s.Send(t.Context(), sdk.Msg[int]{Value: i}); err != nil {
					t.Fatal(err)
				}
			}
			if closed {
				s.CloseSend()
			}
			if r, err := s.Recv(t.Context()); err != nil || r.TurnOver {
				t.Fatalf("got %+v, %v, want the item that went through", r, err)
			}
			if err := s.Interrupt(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			if r, err := s.Recv(t.Context()); err != nil || !r.TurnOver || r.Turn != 0 {
				t.Errorf("got %+v, %v, want that turn 0 is over", r, err)
			}
		})
	}
}

// TestInterrupt_OneValue: so is that of a chain that takes one value, even before anything was received.
func TestInterrupt_OneValue(t *testing.T) {
	c, n, _ := start(t)
	s, err := c.OpenStream(t.Context(), "forever")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Send(t.Context(), client.Input{JSON: []byte(`{"text":"x"}`)}); err != nil {
		t.Fatal(err)
	}
	s.CloseSend()
	if err := s.Interrupt(t.Context(), math.MaxUint64); err != nil {
		t.Fatal(err)
	}
	overs := 0
	for {
		ev, err := s.Recv(t.Context())
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if ev.TurnOver != nil {
			overs++
		} else if overs > 0 {
			t.Errorf("got %+v of a turn that is over", ev)
		}
	}
	if overs != 1 {
		t.Errorf("%d turns are over, want 1", overs)
	}
	select {
	case err := <-n.ended:
		if err == nil {
			t.Error("the function was not ended")
		}
	default: // it was not called any more
	}
	if err := s.Interrupt(t.Context(), 0); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("after the run: got %v, want %v", err, functions.ErrNotFound)
	}
}

// TestInterrupt_BeforeTheRun: it waits for the run, and says if there is none.
func TestInterrupt_BeforeTheRun(t *testing.T) {
	c, _, _ := start(t)
	s, err := c.OpenStream(t.Context(), "nope")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Interrupt(t.Context(), 0); err != io.EOF {
		t.Errorf("got %v, want the end", err)
	}
	if _, err := s.Recv(t.Context()); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("got %v, want %v", err, functions.ErrNotFound)
	}
}

func TestStart_Fails(t *testing.T) {
	c, _, _ := start(t)
	s, err := client.Start(t.Context(), c, twiceChain)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Send(t.Context(), sdk.Msg[int]{Value: -1}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(t.Context()); !errors.Is(err, functions.ErrFunction) {
		t.Errorf("got %v, want %v", err, functions.ErrFunction)
	} else if step, ok := errors.AsType[*sdk.StepError](err); !ok || step.Chain != "twice" {
		t.Errorf("got %v, want the step that failed", err)
	}
	for err = nil; err == nil; { // sooner or later
		err = s.Send(t.Context(), sdk.Msg[int]{Value: 1})
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, functions.ErrClosed) {
		t.Errorf("Send after the end: got %v", err)
	}
}

func TestStart_ContextEndsTheSession(t *testing.T) {
	c, _, _ := start(t)
	s, err := client.Start(t.Context(), c, twiceChain)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	why := errors.New("had enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := s.Recv(ctx); !errors.Is(err, why) {
		t.Errorf("got %v, want the cause", err)
	}
}

// TestRun_TimeUp: a caller whose time is up learns which step has used it, and that it was the time.
func TestRun_TimeUp(t *testing.T) {
	c, _, _ := start(t)
	for name, run := range map[string]func(ctx context.Context) error{
		"a run": func(ctx context.Context) error {
			out, err := client.Run(ctx, c, stuckChain, sdk.StreamOf(func(yield func(int) bool) { yield(1) }))
			if err != nil {
				return err
			}
			for _, err = range out {
			}
			return err
		},
		"a session": func(ctx context.Context) error {
			s, err := client.Start(ctx, c, stuckChain)
			if err != nil {
				return err
			}
			defer s.Close()
			if err := s.Send(ctx, sdk.Msg[int]{Value: 1}); err != nil {
				return err
			}
			for {
				if _, err := s.Recv(ctx); err != nil {
					return err
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err := run(ctx)
			if step, ok := errors.AsType[*sdk.StepError](err); !ok || step.Step != "stuck" {
				t.Errorf("got %v, want the step", err)
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
			}
		})
	}
}

// TestStart_TimeUpAtASilentServer: it does not wait for ever for what the server says of it.
func TestStart_TimeUpAtASilentServer(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	defer srv.Close()
	c, err := client.New(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	slow := errors.New("too slow")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, slow)
	defer cancel()
	s, err := client.Start(ctx, c, stuckChain)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Recv(ctx); !errors.Is(err, slow) {
		t.Errorf("got %v, want %v", err, slow)
	}
}

// TestStart_CloseWhileFull: a session ends although its input is as full as it gets and nobody reads its output.
func TestStart_CloseWhileFull(t *testing.T) {
	c, _, _ := start(t)
	s, err := client.Start(t.Context(), c, loudChain)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	sent := make(chan int, 10_000)
	ended := make(chan error, 1)
	go func() { // joined below
		for i := range cap(sent) {
			a, err := c.Audio(tone(64<<10 + i))
			if err == nil {
				err = s.Send(ctx, sdk.Msg[sdk.Audio]{Value: a})
			}
			if err != nil {
				ended <- err
				return
			}
			sent <- i
		}
		ended <- nil
	}()
	for same, last := 0, -1; same < 50; same++ { // until it has stopped; too soon hides a fault and invents none
		time.Sleep(time.Millisecond)
		if now := len(sent); now != last {
			same, last = 0, now
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	s.Close()
}

func TestStart_Audio(t *testing.T) {
	c, _, _ := start(t)
	s, err := client.Start(t.Context(), c, loudChain)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	file := tone(320)
	a, err := c.Audio(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), sdk.Msg[sdk.Audio]{Value: a}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Recv(t.Context())
	if err != nil || got.Value != a {
		t.Fatalf("got %+v, %v, want %+v", got, err, a)
	}
	if b, err := c.ReadBlob(t.Context(), got.Value.Blob); err != nil || string(b) != string(file) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestRun_StreamIn(t *testing.T) {
	c, _, _ := start(t)
	count := func(n int, last error) sdk.Stream[int] {
		return func(yield func(int, error) bool) {
			for i := range n {
				if !yield(i, nil) {
					return
				}
			}
			if last != nil {
				yield(0, last)
			}
		}
	}
	t.Run("to a stream", func(t *testing.T) {
		out, err := client.Run(t.Context(), c, twiceChain, count(1000, nil))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for v, err := range out {
			if err != nil || v != 2*n {
				t.Fatalf("item %d: %d, %v", n, v, err)
			}
			n++
		}
		if n != 1000 {
			t.Errorf("%d items, want 1000", n)
		}
	})
	t.Run("to one value", func(t *testing.T) {
		if got, err := client.Run(t.Context(), c, finalChain, count(10, nil)); err != nil || got != 18 {
			t.Errorf("got %d, %v, want 18", got, err)
		}
	})
	t.Run("that breaks off", func(t *testing.T) {
		broken := errors.New("the microphone is gone")
		if _, err := client.Run(t.Context(), c, finalChain, count(10, broken)); !errors.Is(err, broken) {
			t.Errorf("got %v, want %v", err, broken)
		}
	})
	t.Run("of a run that fails", func(t *testing.T) {
		if _, err := client.Run(t.Context(), c, finalChain, sdk.StreamOf(func(yield func(int) bool) {
			for yield(-1) { // until it is told to stop
			}
		})); !errors.Is(err, functions.ErrFunction) {
			t.Errorf("got %v, want %v", err, functions.ErrFunction)
		}
	})
}

func TestOpenStream(t *testing.T) {
	c, _, _ := start(t)
	s, err := c.OpenStream(t.Context(), "loud", "loud")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Send(t.Context(), client.Input{JSON: inline(tone(10)), Turn: 3, Time: time.Unix(7, 0)}); err != nil {
		t.Fatal(err)
	}
	ev, err := s.Recv(t.Context())
	if err == nil && ev.Observed != nil {
		ev, err = s.Recv(t.Context())
	}
	if err != nil || ev.Value == nil || ev.Value.Turn != 3 || !ev.Value.Time.Equal(time.Unix(7, 0)) || len(ev.Value.Blobs) != 1 || string(ev.Value.Blobs[0].Data) != string(tone(10)) {
		t.Fatalf("got %+v, %v", ev, err)
	}
	if err := s.Interrupt(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if ev, err := s.Recv(t.Context()); err != nil || ev.TurnOver == nil || ev.TurnOver.Turn != 3 {
		t.Fatalf("got %+v, %v, want that turn 3 is over", ev, err)
	}
	s.CloseSend()
	timings := 0
	for ev, err = s.Recv(t.Context()); err == nil; ev, err = s.Recv(t.Context()) {
		if ev.Timing != nil {
			timings++
		}
	}
	if err != io.EOF || timings != 1 {
		t.Errorf("%v after %d timings, want the end after one", err, timings)
	}
}

func inline(file []byte) []byte {
	return fmt.Appendf(nil, `{"data":%q,"type":%q}`, base64.StdEncoding.EncodeToString(file), wav.MediaType)
}
