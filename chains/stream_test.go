package chains

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
)

// streamFns are functions between streams of n, beside those of numberFns. Listen opens turns.
func streamFns() map[string]*functions.Manifest {
	fns := numberFns()
	for _, name := range []string{"copy", "pair", "first", "listen"} {
		fns[name] = fn(name, many[n](), many[n]())
	}
	fns["listen"].Turns = true
	fns["sum"] = fn("sum", many[n](), one[n]())
	return fns
}

// server is what an invoker does with the call of a step.
type server func(ctx context.Context, call functions.Call, in functions.Source, out functions.Sink) error

// serve makes an invoker of servers by step.
func serve(t testing.TB, steps map[string]server) functions.Invoker {
	return invokerFunc(func(ctx context.Context, call functions.Call, in functions.Source, out functions.Sink) (functions.Timing, error) {
		do := steps[call.Step]
		if do == nil {
			t.Errorf("step %s is called", call.Step)
			return functions.Timing{}, errors.New("no such step")
		}
		return functions.Timing{}, do(ctx, call, in, out)
	})
}

// mapper makes a server that sends f of every item.
func mapper(t testing.TB, f func(int) []int) server {
	return func(ctx context.Context, _ functions.Call, in functions.Source, out functions.Sink) error {
		for {
			it, err := in.Recv(ctx)
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			for _, v := range f(decode[n](t, it).N) {
				o := item(t, n{v})
				o.Turn, o.Time = it.Turn, it.Time
				if err := out.Send(ctx, o); err != nil {
					return err
				}
			}
		}
	}
}

func same(v int) []int { return []int{v} }

// live is a source that gives what is put into it.
type live struct{ *functions.Stream }

func newLive() live { return live{functions.NewStream(100, 0)} }

func (l live) put(t testing.TB, values ...int) {
	t.Helper()
	for _, v := range values {
		if err := l.Send(t.Context(), item(t, n{v})); err != nil {
			t.Error(err)
		}
	}
}

// caller keeps what a run gives: numbers, and -1-n for turn n that is over.
type caller struct {
	t    testing.TB
	got  []int
	seqs []uint64
}

func (c *caller) Send(_ context.Context, it functions.Item) error {
	c.got = append(c.got, decode[n](c.t, it).N)
	c.seqs = append(c.seqs, it.Seq)
	return nil
}

func (c *caller) turnOver(turn uint64) { c.got = append(c.got, -1-int(turn)) }

// begin starts a run of live input.
func begin(t *testing.T, p *Plan, r Run) *Running {
	t.Helper()
	run, err := p.Start(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// TestStream_FullDuplex: what is made of an item comes out before the next one goes in.
func TestStream_FullDuplex(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(call("pair", "in"), each("double", "pair"), call("copy", "double")), streamFns())
		if !p.In().Stream || !p.Out().Stream {
			t.Errorf("the sides are %+v and %+v", p.In(), p.Out())
		}
		inv := serve(t, map[string]server{
			"pair": mapper(t, func(v int) []int { return []int{v, v + 1} }), "copy": mapper(t, same),
			"double": mapper(t, func(v int) []int { return []int{2 * v} }),
		})
		in, out := newLive(), &caller{t: t}
		run := begin(t, p, Run{Invoker: inv, In: in, Out: out})
		for i := range 3 {
			in.put(t, 10*i)
			synctest.Wait()
			if len(out.got) != 2*(i+1) {
				t.Fatalf("after item %d the caller has %v", i, out.got)
			}
		}
		in.CloseSend(nil)
		if _, err := run.Wait(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]int{0, 2, 20, 22, 40, 42}, out.got); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]uint64{0, 1, 2, 3, 4, 5}, out.seqs); diff != "" {
			t.Error(diff)
		}
	})
}

// TestStream_BackPressure: a caller that takes nothing stops the input, wherever it is on the way.
func TestStream_BackPressure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(call("copy", "in"), each("double", "copy"), as("again", call("copy", "double"))), streamFns())
		inv := serve(t, map[string]server{"copy": mapper(t, same), "double": mapper(t, same), "again": mapper(t, same)})
		taken := 0
		in := sourceFunc(func(ctx context.Context) (functions.Item, error) {
			if taken == 1000 {
				return functions.Item{}, io.EOF
			}
			taken++
			return item(t, n{taken}), nil
		})
		gate := make(chan struct{})
		got := 0
		run := begin(t, p, Run{Invoker: inv, In: in, EdgeItems: 2, Out: functions.SinkFunc(func(context.Context, functions.Item) error {
			<-gate
			got++
			return nil
		})})
		synctest.Wait()
		// Four edges hold two items each; the input, three calls and the sink hold one each.
		if want := 4*2 + 5; taken != want {
			t.Errorf("%d items were taken while the caller took none, want %d", taken, want)
		}
		close(gate)
		if _, err := run.Wait(); err != nil || got != 1000 {
			t.Errorf("the caller got %d items, %v", got, err)
		}
	})
}

type sourceFunc func(context.Context) (functions.Item, error)

func (f sourceFunc) Recv(ctx context.Context) (functions.Item, error) { return f(ctx) }

// TestStream_LastValueOfACall: a function may make one value of a stream, and what reads it goes on.
func TestStream_LastValueOfACall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(call("sum", "in"), call("inc", "sum")), streamFns())
		if !p.In().Stream || p.Out().Stream {
			t.Errorf("the sides are %+v and %+v", p.In(), p.Out())
		}
		inv := serve(t, map[string]server{
			"sum": func(ctx context.Context, _ functions.Call, in functions.Source, out functions.Sink) error {
				items, err := functions.Collect(ctx, in)
				if err != nil {
					return err
				}
				sum := 0
				for _, it := range items {
					sum += decode[n](t, it).N
				}
				return out.Send(ctx, item(t, n{sum}))
			},
			"inc": mapper(t, func(v int) []int { return []int{v + 1} }),
		})
		out := &caller{t: t}
		in := functions.Items(item(t, n{1}), item(t, n{2}), item(t, n{3}))
		if _, err := p.Run(t.Context(), Run{Invoker: inv, In: in, Out: out}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]int{7}, out.got); diff != "" {
			t.Error(diff)
		}
	})
}

// TestStream_EndsWithItsOutput: a step that has enough ends; then what it read is not made any more, and when the output
// has ended the run has, though the caller's input goes on.
func TestStream_EndsWithItsOutput(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(call("copy", "in"), call("first", "copy")), streamFns())
		inv := serve(t, map[string]server{
			"copy": mapper(t, same),
			"first": func(ctx context.Context, _ functions.Call, in functions.Source, out functions.Sink) error {
				it, err := in.Recv(ctx)
				if err != nil {
					return err
				}
				return out.Send(ctx, it)
			},
		})
		in, out := newLive(), &caller{t: t}
		run := begin(t, p, Run{Invoker: inv, In: in, Out: out})
		in.put(t, 4)
		if _, err := run.Wait(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]int{4}, out.got); diff != "" {
			t.Error(diff)
		}
	})
}

// TestStream_UnreadStepStops: a step whose last reader has ended is not called on.
func TestStream_UnreadStepStops(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(call("count", "in"), call("first", "count")), streamFns())
		var ended error
		inv := serve(t, map[string]server{
			"count": func(ctx context.Context, _ functions.Call, _ functions.Source, out functions.Sink) error {
				for i := 0; ; i++ {
					if ended = out.Send(ctx, item(t, n{i})); ended != nil {
						return ended
					}
				}
			},
			"first": func(ctx context.Context, _ functions.Call, in functions.Source, out functions.Sink) error {
				it, err := in.Recv(ctx)
				if err != nil {
					return err
				}
				return out.Send(ctx, it)
			},
		})
		out := &caller{t: t}
		if _, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{})), Out: out}); err != nil {
			t.Fatal(err)
		}
		if len(out.got) != 1 || ended == nil {
			t.Errorf("the caller got %v, and the first step ended with %v", out.got, ended)
		}
	})
}

func TestStream_InputBreaksOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(call("copy", "in")), streamFns())
		in, out := newLive(), &caller{t: t}
		run := begin(t, p, Run{Invoker: serve(t, map[string]server{"copy": mapper(t, same)}), In: in, Out: out})
		in.put(t, 1)
		synctest.Wait()
		in.CloseSend(errHungUp)
		_, err := run.Wait()
		if !errors.Is(err, errHungUp) || !strings.HasPrefix(err.Error(), "chain test: input: ") {
			t.Errorf("got %v", err)
		}
		if se, ok := errors.AsType[*functions.StepError](err); ok {
			t.Errorf("step %s is blamed", se.Step)
		}
	})
}

// TestStream_FailureOfASibling: one step fails, and all others end with that as their cause.
func TestStream_FailureOfASibling(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(call("copy", "in"), call("pair", "copy"), as("tail", call("copy", "pair"))), streamFns())
		var mu sync.Mutex
		causes := map[string]error{}
		watch := func(step string) server {
			return func(ctx context.Context, _ functions.Call, _ functions.Source, _ functions.Sink) error {
				<-ctx.Done()
				mu.Lock()
				defer mu.Unlock()
				causes[step] = context.Cause(ctx)
				return errors.New("killed")
			}
		}
		inv := serve(t, map[string]server{
			"copy": watch("copy"),
			"pair": func(context.Context, functions.Call, functions.Source, functions.Sink) error {
				time.Sleep(time.Second)
				return errInjected
			},
			"tail": watch("tail"),
		})
		_, err := begin(t, p, Run{Invoker: inv, In: newLive(), Out: &caller{t: t}}).Wait()
		se, ok := err.(*functions.StepError)
		if !ok || se.Step != "pair" || !errors.Is(err, errInjected) {
			t.Errorf("got %v", err)
		}
		for _, step := range []string{"copy", "tail"} {
			if !errors.Is(causes[step], errInjected) {
				t.Errorf("step %s ended with %v", step, causes[step])
			}
		}
	})
}

// TestStream_HeldBlobs: a blob that came can be sent on for a while, and not for ever.
func TestStream_HeldBlobs(t *testing.T) {
	for wait, want := range map[int]bool{0: true, functions.HeldItems - 1: true, functions.HeldItems: false} {
		bubble(t, func(t *testing.T) {
			fns := streamFns()
			fns["echo"] = fn("echo", many[functions.Audio](), many[functions.Audio]())
			p := compile(t, chain(call("echo", "in")), fns)
			inv := serve(t, map[string]server{"echo": func(ctx context.Context, _ functions.Call, in functions.Source, out functions.Sink) error {
				first, err := in.Recv(ctx)
				for range wait {
					if err == nil {
						_, err = in.Recv(ctx)
					}
				}
				if err != nil {
					return err
				}
				return out.Send(ctx, functions.Item{Value: first.Value})
			}})
			var items []functions.Item
			for i := range wait + 1 {
				items = append(items, speech(t, fmt.Sprint("sound ", i)))
			}
			var out collector
			_, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(items...), Out: &out})
			if want != (err == nil) || want != (heard(out.items) == "sound 0") {
				t.Errorf("after %d more items: %v, heard %q", wait, err, heard(out.items))
			}
		})
	}
}

func TestStream_Idle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(call("copy", "in")), streamFns())
		in, out := newLive(), &caller{t: t}
		begun := time.Now()
		run := begin(t, p, Run{Invoker: serve(t, map[string]server{"copy": mapper(t, same)}), In: in, Out: out, Idle: time.Minute})
		for i := range 10 { // a healthy stream goes on for longer than that
			time.Sleep(50 * time.Second)
			in.put(t, i)
		}
		_, err := run.Wait()
		if !errors.Is(err, functions.ErrIdleLimit) || errors.Is(err, functions.ErrTimeLimit) || len(out.got) != 10 {
			t.Errorf("got %v after %v", err, out.got)
		}
		if took := time.Since(begun); took != 560*time.Second {
			t.Errorf("it ended after %s", took)
		}
	})
}

// TestStream_DeadlineTellsWhoUsedIt: the error names the step that worked longest, and says how long each has worked.
func TestStream_DeadlineTellsWhoUsedIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(call("inc", "in"), call("count", "inc"), each("double", "count")), streamFns())
		work := func(d time.Duration, then server) server {
			return func(ctx context.Context, c functions.Call, in functions.Source, out functions.Sink) error {
				select {
				case <-time.After(d):
					return then(ctx, c, in, out)
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
		}
		inv := serve(t, map[string]server{
			"inc":    work(time.Second, mapper(t, same)),
			"count":  mapper(t, func(int) []int { return make([]int, 1000) }),
			"double": work(2*time.Second, mapper(t, same)),
		})
		ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, fmt.Errorf("%w: the caller's limit", context.DeadlineExceeded))
		defer cancel()
		report, err := p.Run(ctx, Run{Invoker: inv, In: functions.Items(item(t, n{})), Out: &caller{t: t}, EdgeItems: 1})
		se, ok := err.(*functions.StepError)
		if !ok || se.Step != "double" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if want := "the caller's limit; of 10s so far: double 9s, inc 1s"; !strings.HasSuffix(fmt.Sprint(err), want) {
			t.Errorf("got %v, want %q at the end", err, want)
		}
		var busy []time.Duration
		for _, st := range report.Steps {
			busy = append(busy, st.Busy)
		}
		// count did nothing but wait for room.
		if want := []time.Duration{time.Second, 0, 9 * time.Second}; !slices.Equal(busy, want) {
			t.Errorf("the report says %v", busy)
		}
	})
}

// TestStream_EndsThatAreNoEnds: a function that stops when its time is up, and does not say so, has not said all.
func TestStream_EndsThatAreNoEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		stops := func(ctx context.Context, c functions.Call, in functions.Source, out functions.Sink) error {
			err := mapper(t, func(int) []int { return []int{1, 2} })(ctx, c, in, out)
			<-ctx.Done()
			return err
		}
		for name, tt := range map[string]struct {
			timeout, deadline time.Duration
			want              error
		}{
			"the step's limit": {time.Second, time.Minute, functions.ErrTimeLimit},
			"the run's":        {0, time.Second, context.DeadlineExceeded},
		} {
			step := call("count", "in")
			step.Timeout = tt.timeout
			ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
			_, err := compile(t, chain(step), streamFns()).Run(ctx, Run{Invoker: serve(t, map[string]server{"count": stops}), In: functions.Items(item(t, n{2})), Out: &caller{t: t}})
			cancel()
			if se, ok := err.(*functions.StepError); !ok || se.Step != "count" || !errors.Is(err, tt.want) {
				t.Errorf("%s: got %v, want %v of the step", name, err, tt.want)
			}
		}
	})
}

// TestStream_TimeoutLeavesOutTheReader: the timeout of a call does not run while its output waits for a slow caller.
func TestStream_TimeoutLeavesOutTheReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		slow := each("double", "count")
		slow.Timeout = time.Second
		p := compile(t, chain(call("count", "in"), slow), streamFns())
		inv := serve(t, map[string]server{
			"count": mapper(t, func(int) []int { return make([]int, 5) }),
			"double": func(ctx context.Context, c functions.Call, in functions.Source, out functions.Sink) error {
				time.Sleep(900 * time.Millisecond)
				return mapper(t, same)(ctx, c, in, out)
			},
		})
		reads := functions.SinkFunc(func(context.Context, functions.Item) error {
			time.Sleep(10 * time.Second)
			return nil
		})
		if _, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{})), Out: reads, EdgeItems: 1}); err != nil {
			t.Error(err)
		}
	})
}

// TestStream_DeadlineBlame: the step that has used the time is named, also if it is the first to hear of the end, and none is
// if all have waited for the caller.
func TestStream_DeadlineBlame(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(call("copy", "in"), as("again", call("copy", "copy"))), streamFns())
		hang := func(ctx context.Context, _ functions.Call, in functions.Source, _ functions.Sink) error {
			if _, err := in.Recv(ctx); err != nil {
				return err
			}
			<-ctx.Done()
			return context.Cause(ctx)
		}
		deaf := func(ctx context.Context, c functions.Call, in functions.Source, out functions.Sink) error {
			err := mapper(t, same)(ctx, c, in, out)
			time.Sleep(time.Second) // it hears of the end late
			return err
		}
		for name, tt := range map[string]struct {
			steps map[string]server
			step  string
		}{
			"it hears first":          {map[string]server{"copy": hang, "again": deaf}, "copy"},
			"it hears last":           {map[string]server{"copy": deaf, "again": hang}, "again"},
			"the caller says nothing": {map[string]server{"copy": mapper(t, same), "again": mapper(t, same)}, ""},
		} {
			in := functions.NewStream(0, 0)
			if err := in.Send(t.Context(), item(t, n{1})); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			_, err := p.Run(ctx, Run{Invoker: serve(t, tt.steps), In: in, Out: &caller{t: t}})
			cancel()
			step := ""
			if se, ok := errors.AsType[*functions.StepError](err); ok {
				step = se.Step
			}
			if step != tt.step || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: got %v, want that step %q is blamed", name, err, tt.step)
			}
		}
	})
}

// TestStream_DeadlineAndReadAhead: a step that is at work is blamed although its input is read ahead of it, and one that
// waits is not.
func TestStream_DeadlineAndReadAhead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fns := streamFns()
		p := compile(t, chain(call("copy", "in"), as("again", call("copy", "copy"))), fns)
		ahead := func(work time.Duration) server { // it works on each item, and the next one is asked for meanwhile
			return func(ctx context.Context, _ functions.Call, in functions.Source, out functions.Sink) error {
				report := functions.Ahead(in)
				items, ended := make(chan functions.Item), make(chan error, 1)
				go func() {
					for {
						it, err := in.Recv(ctx)
						if err != nil {
							ended <- err
							return
						}
						items <- it
					}
				}()
				var waits functions.WaitClock
				for {
					waits.Begin()
					report(waits.Waits())
					select {
					case it := <-items:
						waits.End()
						report(waits.Waits())
						time.Sleep(work)
						if err := out.Send(ctx, it); err != nil {
							return err
						}
					case err := <-ended:
						return err
					}
				}
			}
		}
		inv := serve(t, map[string]server{"copy": ahead(0), "again": ahead(9 * time.Second)})
		in := functions.NewStream(0, 0) // it stays open
		if err := in.Send(t.Context(), item(t, n{1})); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := p.Run(ctx, Run{Invoker: inv, In: in, Out: &caller{t: t}})
		if se, ok := err.(*functions.StepError); !ok || se.Step != "again" || !strings.HasSuffix(err.Error(), "of 10s so far: again 9s") {
			t.Errorf("got %v, want that again has used 9s", err)
		}
	})
}

func TestCompile_Streams(t *testing.T) {
	fns := streamFns()
	fns["hear"] = fn("hear", many[n](), many[n]())
	fns["hear"].Turns = true
	interrupted := chain(call("copy", "in"))
	interrupted.Interrupt = spec.InterruptOnset
	odd := chain(call("listen", "in"))
	odd.Interrupt = "always"
	for name, tt := range map[string]struct {
		chain spec.Chain
		want  string
	}{
		"one value into a stream":   {chain(call("inc", "in"), call("copy", "inc")), "step copy: invalid: inc is one value and copy takes a stream: call a function of one value"},
		"a stream into one value":   {chain(call("copy", "in"), call("inc", "copy")), "step inc: invalid: copy is a stream and inc takes one value: use each"},
		"each of a stream function": {chain(call("copy", "in"), as("again", each("copy", "copy"))), "step again: invalid: each applies a function of one value, and copy takes a stream: use call"},
		"a switch over a stream":    {chain(call("copy", "in"), pick("copy", pass("", "copy"))), "a switch routes one value and copy is a stream"},
		"two kinds of input":        {chain(call("copy", "in"), call("inc", "in"), call("sum", "copy")), "one is a stream, the other is one value"},
		"two that open turns":       {chain(call("listen", "in"), call("hear", "listen")), "step hear: invalid: step listen opens turns already"},
		"onset that nobody sees":    {interrupted, "interrupt: onset needs a step whose function opens turns"},
		"an unknown interruption":   {odd, `interrupt: "always" is unknown; use onset`},
	} {
		g, err := NewGraph(tt.chain, fns, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Compile(g, fns); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}
