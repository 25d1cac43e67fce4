package chains

import (
	"context"
	"errors"
	"fmt"
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

// voiceImpls are the functions of the voice chain: speak gives blobs of its own.
func voiceImpls(t testing.TB, transcript Transcript) map[string]impl {
	sentences := func(words ...string) []Sentence {
		var out []Sentence
		for _, w := range words {
			out = append(out, Sentence{w})
		}
		return out
	}
	return map[string]impl{
		"transcribe": apply(t, func(functions.Audio) Transcript { return transcript }),
		"sorry":      emit(t, func(Transcript) []Sentence { return sentences("sorry") }),
		"answer":     emit(t, func(in Transcript) []Sentence { return sentences("you said", in.Text, "bye") }),
		"speak": func(_ context.Context, in functions.Item, send func(functions.Item) error) error {
			sound := functions.Attach("audio/wav", []byte(decode[Sentence](t, in).Text))
			it := item(t, functions.Audio{Blob: sound.Blob})
			it.Blobs = []functions.Attachment{sound}
			return send(it)
		},
	}
}

func speech(t testing.TB, text string) functions.Item {
	sound := functions.Attach("audio/wav", []byte(text))
	it := item(t, functions.Audio{Blob: sound.Blob, SampleHz: 16000, Channels: 1})
	it.Blobs = []functions.Attachment{sound}
	return it
}

func heard(items []functions.Item) string {
	var words []string
	for _, it := range items {
		for _, b := range it.Blobs {
			words = append(words, string(b.Data))
		}
	}
	return strings.Join(words, "|")
}

// bubble runs f in a synctest bubble: its clock is fake, and a goroutine that is left or stuck fails the test.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func TestRun_Voice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, voiceChain(), voiceFns())
		for _, tt := range []struct {
			transcript Transcript
			want       string
			called     []string
		}{
			{Transcript{"hello", 0.9}, "you said|hello|bye", []string{"answer", "speak", "transcribe"}},
			{Transcript{"", 0.9}, "sorry", []string{"sorry", "speak", "transcribe"}},
			{Transcript{"mumble", 0.1}, "sorry", []string{"sorry", "speak", "transcribe"}},
		} {
			inv := &fake{impls: voiceImpls(t, tt.transcript)}
			var out collector
			in := speech(t, "question")
			in.Turn, in.Time, in.Seq = 3, time.Unix(1000, 0), 99
			report, err := p.Run(t.Context(), Run{ID: "r1", Invoker: inv, In: functions.Items(in), Out: &out})
			if err != nil {
				t.Fatal(err)
			}
			if got := heard(out.items); got != tt.want {
				t.Errorf("%v: heard %q, want %q", tt.transcript, got, tt.want)
			}
			for i, it := range out.items {
				if it.Seq != uint64(i) || it.Turn != 3 || !it.Time.Equal(time.Unix(1000, 0)) {
					t.Errorf("item %d: seq %d, turn %d, time %v", i, it.Seq, it.Turn, it.Time)
				}
			}
			if got := inv.called(); !slices.Equal(got, tt.called) {
				t.Errorf("%v: called %v, want %v", tt.transcript, got, tt.called)
			}
			if report.Graph != p.Hash() {
				t.Errorf("report of graph %s, want %s", report.Graph, p.Hash())
			}
			for _, c := range inv.seen {
				if c.Chain != "voice" || c.Run != "r1" || c.Ref != p.Graph().Functions[c.Step] {
					t.Errorf("call %+v", c)
				}
				if c.Step == "answer" && names(c.Models) != "llm" {
					t.Errorf("answer is called with models %v", c.Models)
				}
			}
		}
	})
}

// TestRun_Streams: a later step works on the first item while an earlier one still makes the next.
func TestRun_Streams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fns := numberFns()
		p := compile(t, chain(call("count", "in"), each("double", "count")), fns)
		begin := time.Now()
		var at []time.Duration
		inv := &fake{impls: map[string]impl{
			"count": func(ctx context.Context, _ functions.Item, send func(functions.Item) error) error {
				for i := range 4 {
					time.Sleep(time.Second)
					if err := send(item(t, n{i})); err != nil {
						return err
					}
				}
				return nil
			},
			"double": sleep(time.Second, apply(t, func(v n) n { return n{2 * v.N} })),
		}}
		out := functions.SinkFunc(func(_ context.Context, it functions.Item) error {
			at = append(at, time.Since(begin))
			return nil
		})
		report, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{})), Out: out})
		if err != nil {
			t.Fatal(err)
		}
		if want := []time.Duration{2 * time.Second, 3 * time.Second, 4 * time.Second, 5 * time.Second}; !slices.Equal(at, want) {
			t.Errorf("items came at %v, want %v", at, want)
		}
		double := report.Steps[1]
		if double.Step != "double" || double.Calls != 4 || double.Start != time.Second {
			t.Errorf("report of double: %+v", double)
		}
	})
}

func TestRun_Timings(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(call("count", "in"), each("double", "count"), last("double"), pick("last", when("it.n > 100", call("inc", "last")), pass("", "last"))), numberFns())
		inv := &fake{
			impls: map[string]impl{
				"count":  sleep(time.Second, emit(t, func(n) []n { return []n{{1}, {2}, {3}} })),
				"double": sleep(2*time.Second, apply(t, func(v n) n { return n{2 * v.N} })),
			},
			timings: map[string]functions.Timing{
				"count":  {Wake: 5, Queue: 6, FirstItem: time.Second, Total: time.Second, BytesIn: 1, BytesOut: 2},
				"double": {Wake: 10, Queue: 20, FirstItem: 2 * time.Second, Total: 2 * time.Second, BytesIn: 3, BytesOut: 4},
			},
		}
		report, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{})), Out: &collector{}})
		if err != nil {
			t.Fatal(err)
		}
		want := Report{Graph: p.Hash(), Steps: []StepTiming{
			{Step: "count", Timing: inv.timings["count"], Busy: time.Second, Calls: 1},
			{Step: "double", Start: time.Second, Busy: 6 * time.Second, Calls: 3, Timing: functions.Timing{Wake: 30, Queue: 60, FirstItem: 2 * time.Second, Total: 6 * time.Second, BytesIn: 9, BytesOut: 12}},
		}}
		if diff := cmp.Diff(want, report); diff != "" {
			t.Errorf("report (-want +got):\n%s", diff)
		}
	})
}

// TestRun_BackPressure: while the caller takes nothing, the first step gets no further than the edges hold.
func TestRun_BackPressure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(call("count", "in"), each("double", "count"), as("again", each("double", "double"))), numberFns())
		sent := 0
		inv := &fake{impls: map[string]impl{
			"count": func(_ context.Context, _ functions.Item, send func(functions.Item) error) error {
				for i := range 1000 {
					if err := send(item(t, n{i})); err != nil {
						return err
					}
					sent++
				}
				return nil
			},
			"double": apply(t, func(v n) n { return n{2 * v.N} }),
		}}
		gate := make(chan struct{})
		taken := 0
		out := functions.SinkFunc(func(ctx context.Context, it functions.Item) error {
			<-gate
			if got, want := decode[n](t, it).N, 4*taken; got != want {
				t.Errorf("item %d: got %d, want %d", taken, got, want)
			}
			taken++
			return nil
		})
		done := make(chan error)
		go func() {
			_, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{})), Out: out, EdgeItems: 3})
			done <- err
		}()
		synctest.Wait()
		// Three edges hold three items each, two calls and the sink hold one each.
		if want := 3*3 + 2 + 1; sent != want {
			t.Errorf("%d items were sent while the caller took none, want %d", sent, want)
		}
		close(gate)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if taken != 1000 {
			t.Errorf("got %d items, want 1000", taken)
		}
	})
}

// TestRun_EdgeBytes: large items are held back though few.
func TestRun_EdgeBytes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(call("spell", "in")), numberFns())
		sent := 0
		inv := &fake{impls: map[string]impl{"spell": func(_ context.Context, _ functions.Item, send func(functions.Item) error) error {
			for range 10 {
				if err := send(item(t, Sentence{strings.Repeat("x", 1000)})); err != nil {
					return err
				}
				sent++
			}
			return nil
		}}}
		gate := make(chan struct{})
		out := functions.SinkFunc(func(context.Context, functions.Item) error { <-gate; return nil })
		done := make(chan error)
		go func() {
			_, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{})), Out: out, EdgeBytes: 2500})
			done <- err
		}()
		synctest.Wait()
		if sent != 3 { // two on the edge, one with the sink
			t.Errorf("%d items were sent, want 3", sent)
		}
		close(gate)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// TestRun_FanOut: every reader gets every item, and the slowest holds the writer.
func TestRun_FanOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(
			call("count", "in"), each("double", "count"), as("slow", each("double", "count")), as("other", each("inc", "count")),
			as("end", last("double")), as("slow-end", last("slow")), as("other-end", last("other")),
			// The output needs all three: a run ends with its output.
			pick("end", pass("it.n > 1", "slow-end"), pass("", "slow-end")),
			as("all", pick("other-end", pass("it.n > 1", "route"), pass("", "route"))),
		), numberFns())
		inv := &fake{impls: map[string]impl{
			"count": emit(t, func(n) []n { return make([]n, 50) }),
			"inc":   apply(t, func(v n) n { return v }),
			"double": func(ctx context.Context, in functions.Item, send func(functions.Item) error) error {
				return send(in)
			},
		}}
		calls := func(step string) int { inv.mu.Lock(); defer inv.mu.Unlock(); return inv.calls[step] }
		var most int
		var mu sync.Mutex
		slow := inv.impls["double"]
		inv.impls["double"] = func(ctx context.Context, in functions.Item, send func(functions.Item) error) error {
			mu.Lock()
			most = max(most, calls("double")-calls("slow"))
			mu.Unlock()
			return slow(ctx, in, send)
		}
		var out collector
		if _, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{})), Out: &out, EdgeItems: 4}); err != nil {
			t.Fatal(err)
		}
		if calls("double") != 50 || calls("slow") != 50 || calls("other") != 50 || len(out.items) != 1 {
			t.Errorf("double called %d times, slow %d, other %d; want 50 each. %d items, want 1", calls("double"), calls("slow"), calls("other"), len(out.items))
		}
		if most > 4+2 {
			t.Errorf("one reader was %d items ahead of the other; the edge holds 4", most)
		}
	})
}

// TestRun_UntakenBranch: a stream that only the other branch would have read does not wait for it.
func TestRun_UntakenBranch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := chain(
			call("count", "in"),
			call("inc", "in"),
			pick("inc",
				when("it.n > 5", each("double", "count")),
				when("it.n > 3", pick("inc", when("it.n > 4", as("b", each("double", "count"))), pass("", "count"))),
				when("", as("c", call("count", "inc"))),
			),
		)
		c.Steps[2].Cases[1].Steps[0].Name, c.Steps[2].Cases[1].Out = "inner", "inner"
		p := compile(t, c, numberFns())
		for in, want := range map[int]struct {
			called string
			items  int
		}{
			1: {"c count inc", 100}, 3: {"count inc", 100}, 4: {"b count inc", 100}, 9: {"count double inc", 100},
		} {
			inv := &fake{impls: map[string]impl{
				"count":  emit(t, func(n) []n { return make([]n, 100) }),
				"inc":    sleep(time.Second, apply(t, func(v n) n { return n{v.N + 1} })),
				"double": apply(t, func(v n) n { return v }),
			}}
			var out collector
			if _, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{in})), Out: &out}); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(inv.called(), " "); got != want.called || len(out.items) != want.items {
				t.Errorf("input %d: called %s, %d items; want %s, %d items", in, got, len(out.items), want.called, want.items)
			}
		}
	})
}

func TestRun_PassThrough(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := chain(call("inc", "in"), pick("inc", pass("it.n > 5 && in.n > 6", "in"), pass("", "inc")))
		p := compile(t, c, numberFns())
		inv := &fake{impls: map[string]impl{"inc": apply(t, func(v n) n { return n{v.N + 1} })}}
		for in, want := range map[int]int{1: 2, 6: 7, 7: 7} {
			var out collector
			if _, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{in})), Out: &out}); err != nil {
				t.Fatal(err)
			}
			if got := decode[n](t, out.items[0]).N; got != want || len(out.items) != 1 {
				t.Errorf("input %d: got %d, want %d", in, got, want)
			}
		}
	})
}

func TestRun_Last(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(call("count", "in"), last("count"), call("inc", "last")), numberFns())
		inv := &fake{impls: map[string]impl{
			"count": emit(t, func(v n) []n { return []n{{1}, {2}, {3}}[:v.N] }),
			"inc":   apply(t, func(v n) n { return n{v.N + 10} }),
		}}
		var out collector
		if _, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{3})), Out: &out}); err != nil {
			t.Fatal(err)
		}
		if got := decode[n](t, out.items[0]).N; got != 13 || len(out.items) != 1 || out.items[0].Seq != 0 {
			t.Errorf("got %d in %d items, seq %d; want 13 in one, seq 0", got, len(out.items), out.items[0].Seq)
		}
		_, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{0})), Out: &out})
		wantStepError(t, err, "last", functions.ErrChain, "the stream count ended without an item, so it has no last one")
	})
}

func TestRun_Observe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, voiceChain(), voiceFns())
		inv := &fake{impls: voiceImpls(t, Transcript{"hello", 0.9})}
		var mu sync.Mutex
		seen := map[string][]uint64{}
		inside := map[string]bool{}
		observed := func(step string, it functions.Item) {
			mu.Lock()
			if inside[step] {
				t.Errorf("two items of %s at once", step)
			}
			inside[step] = true
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			inside[step] = false
			seen[step] = append(seen[step], it.Seq)
			mu.Unlock()
		}
		var out collector
		_, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(speech(t, "?")), Out: &out, Observe: []string{"transcribe", "route", "answer", "sorry"}, Observed: observed})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string][]uint64{"transcribe": {0}, "answer": {0, 1, 2}, "route": {0, 1, 2}}
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Errorf("observed (-want +got):\n%s", diff)
		}

		_, err = p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(speech(t, "?")), Out: &out, Observe: []string{"anser"}, Observed: observed})
		if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), `no step "anser" (did you mean "answer"?); the steps are transcribe, route, sorry, answer, speak`) {
			t.Errorf("an unknown step: got %v", err)
		}
	})
}

// TestRun_Blobs: a value may refer to a blob of the call's input without sending it again, and to no other.
func TestRun_Blobs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		type clip struct {
			Sound functions.Audio  `json:"sound"`
			Pic   *functions.Blob  `json:"pic"`
			More  []functions.Blob `json:"more"`
		}
		fns := byName(fn("cut", one[functions.Audio](), one[clip]()), fn("keep", one[clip](), one[clip]()))
		p := compile(t, chain(call("cut", "in"), call("keep", "cut")), fns)
		pic := functions.Attach("image/png", []byte("pixels"))
		inv := &fake{impls: map[string]impl{
			"cut": func(_ context.Context, in functions.Item, send func(functions.Item) error) error {
				it := item(t, clip{Sound: decode[functions.Audio](t, in), Pic: &pic.Blob})
				it.Blobs = []functions.Attachment{pic}
				return send(it)
			},
			"keep": func(_ context.Context, in functions.Item, send func(functions.Item) error) error {
				c := decode[clip](t, in)
				return send(item(t, clip{Sound: c.Sound, More: []functions.Blob{*c.Pic, *c.Pic}}))
			},
		}}
		var out collector
		if _, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(speech(t, "sound")), Out: &out}); err != nil {
			t.Fatal(err)
		}
		if got := heard(out.items); got != "pixels|sound" && got != "sound|pixels" {
			t.Errorf("the output carries %q, want each blob once", got)
		}

		inv.impls["keep"] = func(_ context.Context, in functions.Item, send func(functions.Item) error) error {
			c := decode[clip](t, in)
			c.Pic.Digest = functions.DigestOf([]byte("something else"))
			return send(item(t, c))
		}
		_, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(speech(t, "sound")), Out: &out})
		wantStepError(t, err, "keep", functions.ErrFunction, "which came neither with it nor with the input")

		inv.impls["keep"] = func(_ context.Context, in functions.Item, send func(functions.Item) error) error {
			return send(functions.Item{Value: []byte{0xff}})
		}
		_, err = p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(speech(t, "sound")), Out: &out})
		wantStepError(t, err, "keep", functions.ErrFunction, "what its output's type does not allow")
	})
}

func TestRun_Refuses(t *testing.T) {
	p := compile(t, chain(call("inc", "in")), numberFns())
	good := Run{Invoker: &fake{impls: map[string]impl{"inc": hang}}, In: functions.Items(item(t, n{})), Out: &collector{}}
	for name, change := range map[string]func(*Run){
		"no invoker":       func(r *Run) { r.Invoker = nil },
		"no sink":          func(r *Run) { r.Out = nil },
		"no source":        func(r *Run) { r.In = nil },
		"no item":          func(r *Run) { r.In = functions.Items() },
		"no value":         func(r *Run) { r.In = functions.Items(functions.Item{}) },
		"two items":        func(r *Run) { r.In = functions.Items(item(t, n{}), item(t, n{})) },
		"nobody to look":   func(r *Run) { r.Observe = []string{"inc"} },
		"an unknown step":  func(r *Run) { r.Observe, r.Observed = []string{"in"}, func(string, functions.Item) {} },
		"an input as step": func(r *Run) { r.Observe, r.Observed = []string{spec.Input}, func(string, functions.Item) {} },
	} {
		r := good
		change(&r)
		if _, err := p.Run(t.Context(), r); !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
}

// TestRun_Concurrent: one plan serves many runs at once.
func TestRun_Concurrent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(call("count", "in"), each("double", "count"), last("double"), pick("last", when("it.n > 10", call("inc", "last")), pass("", "last"))), numberFns())
		inv := &fake{impls: map[string]impl{
			"count":  emit(t, func(v n) []n { return make([]n, v.N) }),
			"double": apply(t, func(v n) n { return n{v.N + 20} }),
			"inc":    apply(t, func(v n) n { return n{v.N + 1} }),
		}}
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				var out collector
				if _, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{i + 1})), Out: &out}); err != nil {
					t.Error(err)
				} else if got := decode[n](t, out.items[0]).N; got != 21 {
					t.Errorf("got %d, want 21", got)
				}
			})
		}
		wg.Wait()
	})
}

// BenchmarkRun is a chain of five steps whose calls do nothing.
func BenchmarkRun(b *testing.B) {
	steps := []spec.Step{call("inc", "in")}
	for i := range 4 {
		steps = append(steps, as(fmt.Sprintf("s%d", i), call("inc", steps[i].Name)))
	}
	p := compile(b, chain(steps...), numberFns())
	inv := invokerFunc(func(ctx context.Context, _ functions.Call, in functions.Source, out functions.Sink) (functions.Timing, error) {
		it, err := in.Recv(ctx)
		if err != nil {
			return functions.Timing{}, err
		}
		return functions.Timing{}, out.Send(ctx, it)
	})
	in := item(b, n{1})
	r := Run{Invoker: inv, Out: functions.SinkFunc(func(context.Context, functions.Item) error { return nil })}
	b.ReportAllocs()
	for b.Loop() {
		r.In = functions.Items(in)
		if _, err := p.Run(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStream is what one item costs on its way through a call, two eaches and the caller's edge.
func BenchmarkStream(b *testing.B) {
	p := compile(b, chain(call("count", "in"), each("double", "count"), each("inc", "double")), numberFns())
	it := item(b, n{1})
	inv := invokerFunc(func(ctx context.Context, c functions.Call, _ functions.Source, out functions.Sink) (functions.Timing, error) {
		items := 1
		if c.Step == "count" {
			items = b.N
		}
		for range items {
			if err := out.Send(ctx, it); err != nil {
				return functions.Timing{}, err
			}
		}
		return functions.Timing{}, nil
	})
	b.ReportAllocs()
	b.ResetTimer() // b.N items in one run: b.Loop would make a run of each
	if _, err := p.Run(b.Context(), Run{Invoker: inv, In: functions.Items(it), Out: functions.SinkFunc(func(context.Context, functions.Item) error { return nil })}); err != nil {
		b.Fatal(err)
	}
}
