package chains

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
)

func wantStepError(t *testing.T, err error, step string, kind error, text string) {
	t.Helper()
	se, ok := err.(*functions.StepError)
	if !ok {
		t.Fatalf("got %v (%T), want a *StepError", err, err)
	}
	if se.Step != step || !errors.Is(err, kind) || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want step %s, %v, %q", err, step, kind, text)
	}
	wantNoEcho(t, err)
}

// wantNoEcho checks that err says nothing twice.
func wantNoEcho(t *testing.T, err error) {
	t.Helper()
	for _, once := range []string{"chain ", "step ", "function inc", "case ", "expression ", "invalid", "start failed", "function crashed", "not found", "can't be computed", "time limit reached"} {
		if n := strings.Count(" "+err.Error(), " "+once); n > 1 {
			t.Errorf("%v: says %q %d times", err, once, n)
		}
	}
}

// TestRun_FaultsOfTheInvoker: whatever an invoker returns, the error of the run says it once.
func TestRun_FaultsOfTheInvoker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(call("inc", "in")), numberFns())
		for _, err := range []error{
			fmt.Errorf("%w: no memory", functions.ErrColdStart),
			&functions.InvokeError{Func: "inc", Instance: "i1", Err: fmt.Errorf("%w: unreachable", functions.ErrTrap)},
			&functions.StepError{Chain: "test", Step: "inc", Err: fmt.Errorf("%w: no memory", functions.ErrColdStart)},
			&functions.StepError{Chain: "test", Step: "inc", Err: &functions.Failure{Code: "cold_start", Message: "start failed: no memory", Chain: "test", Step: "inc"}},
		} {
			inv := &fake{impls: map[string]impl{"inc": func(context.Context, functions.Item, func(functions.Item) error) error { return err }}}
			_, got := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{})), Out: &collector{}})
			se, ok := got.(*functions.StepError)
			if !ok || se.Chain != "test" || se.Step != "inc" || !errors.Is(got, err) || functions.CodeOf(got) != functions.CodeOf(err) {
				t.Errorf("got %v (%T), want a StepError of %v", got, got, err)
				continue
			}
			wantNoEcho(t, got)
		}
	})
}

func TestRun_WrongCounts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		unary := compile(t, chain(call("inc", "in"), call("double", "inc")), numberFns())
		stream := compile(t, chain(call("count", "in"), each("double", "count")), numberFns())
		send := func(values ...n) impl { return emit(t, func(n) []n { return values }) }
		tests := []struct {
			name  string
			plan  *Plan
			impls map[string]impl
			step  string
			text  string
		}{
			{"none", unary, map[string]impl{"inc": send(), "double": hang}, "inc", "ended without a value"},
			{"two", unary, map[string]impl{"inc": send(n{1}, n{2}), "double": hang}, "inc", "gives one value and sent a second one"},
			{"two, and the refusal is ignored", unary, map[string]impl{"double": hang, "inc": func(_ context.Context, in functions.Item, send func(functions.Item) error) error {
				_, _ = send(in), send(in)
				return nil
			}}, "inc", "gives one value and sent a second one"},
			{"none for an item", stream, map[string]impl{"count": send(n{1}, n{2}), "double": send()}, "double", "ended without a value"},
			{"two for an item", stream, map[string]impl{"count": send(n{1}), "double": send(n{1}, n{2})}, "double", "gives one value and sent a second one"},
			{"another type", unary, map[string]impl{"double": hang, "inc": func(_ context.Context, _ functions.Item, send func(functions.Item) error) error {
				return send(item(t, map[string]string{"n": "x"}))
			}}, "inc", "what its output's type does not allow"},
			{"a property missing", unary, map[string]impl{"double": hang, "inc": func(_ context.Context, _ functions.Item, send func(functions.Item) error) error {
				return send(item(t, map[string]int{}))
			}}, "inc", "what its output's type does not allow"},
			{"no bytes", unary, map[string]impl{"double": hang, "inc": func(_ context.Context, _ functions.Item, send func(functions.Item) error) error {
				return send(functions.Item{})
			}}, "inc", "sent an item without a value"},
		}
		for _, tt := range tests {
			_, err := tt.plan.Run(t.Context(), Run{Invoker: &fake{impls: tt.impls}, In: functions.Items(item(t, n{})), Out: &collector{}})
			t.Log(tt.name)
			wantStepError(t, err, tt.step, functions.ErrFunction, tt.text)
		}
	})
}

func TestRun_EmptyStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(call("count", "in"), each("double", "count")), numberFns())
		var out collector
		inv := &fake{impls: map[string]impl{"count": emit(t, func(n) []n { return nil })}}
		if _, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{})), Out: &out}); err != nil || len(out.items) != 0 {
			t.Errorf("got %d items, %v; want none", len(out.items), err)
		}
	})
}

func TestRun_ItemLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(call("text", "in")), numberFns())
		inv := &fake{impls: map[string]impl{"text": apply(t, func(n) Sentence { return Sentence{strings.Repeat("x", 1000)} })}}
		_, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{})), Out: &collector{}, MaxItemBytes: 900})
		wantStepError(t, err, "text", functions.ErrOutputLimit, "an edge takes 900")
	})
}

// besides returns a chain whose output is a stream of double, while slow works beside it for a branch that is not
// taken.
func besides() spec.Chain {
	return chain(call("count", "in"), each("double", "count"), as("slow", call("inc", "in")),
		pick("in", when("it.n > 1000", as("more", call("count", "slow"))), pass("", "double")))
}

// TestRun_FirstFailureWins: whatever else goes wrong on its account, one step is blamed.
func TestRun_FirstFailureWins(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cause := errors.New("the sky fell")
		c := besides()
		p := compile(t, c, numberFns())
		inv := &fake{impls: map[string]impl{
			"count": func(_ context.Context, _ functions.Item, send func(functions.Item) error) error {
				for {
					if err := send(item(t, n{})); err != nil {
						return fmt.Errorf("my own words: %v", err)
					}
				}
			},
			"double": sleep(time.Second, func(context.Context, functions.Item, func(functions.Item) error) error { return cause }),
			"inc":    hang,
		}}
		begin := time.Now()
		report, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{})), Out: &collector{}})
		wantStepError(t, err, "double", cause, "chain test, step double: the sky fell")
		if errors.Is(err, context.Canceled) {
			t.Errorf("%v is a cancellation", err)
		}
		if d := time.Since(begin); d != time.Second {
			t.Errorf("the run ended after %v, want at once after the failure", d)
		}
		if inv.running != 0 {
			t.Errorf("%d calls go on after the run", inv.running)
		}
		if len(report.Steps) != 3 {
			t.Errorf("report of %d steps, want what there was of all 3", len(report.Steps))
		}
	})
}

func TestRun_Cancel(t *testing.T) {
	gone := errors.New("the caller hung up")
	c := besides()
	counting := func(t *testing.T) impl {
		return func(_ context.Context, _ functions.Item, send func(functions.Item) error) error {
			for {
				if err := send(item(t, n{})); err != nil {
					return err
				}
			}
		}
	}
	t.Run("with a cause", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			inv := &fake{impls: map[string]impl{"count": counting(t), "double": apply(t, func(v n) n { return v }), "inc": hang}}
			ctx, cancel := context.WithCancelCause(t.Context())
			out := functions.SinkFunc(func(ctx context.Context, _ functions.Item) error {
				<-ctx.Done() // the caller takes nothing
				return context.Cause(ctx)
			})
			time.AfterFunc(time.Second, func() { cancel(gone) })
			_, err := compile(t, c, numberFns()).Run(ctx, Run{Invoker: inv, In: functions.Items(item(t, n{})), Out: out})
			se, ok := err.(*functions.StepError)
			if !ok || !errors.Is(err, gone) || !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v (%T), want a StepError of the cause", err, err)
			}
			if !slices.Contains([]string{"count", "double", "slow"}, se.Step) {
				t.Errorf("step %q was not running", se.Step)
			}
			if inv.running != 0 {
				t.Errorf("%d calls go on", inv.running)
			}
		})
	})
	t.Run("deadline", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			inv := &fake{impls: map[string]impl{"inc": hang}}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := compile(t, chain(call("inc", "in")), numberFns()).Run(ctx, Run{Invoker: inv, In: functions.Items(item(t, n{})), Out: &collector{}})
			wantStepError(t, err, "inc", context.DeadlineExceeded, "")
		})
	})
	t.Run("while nothing runs", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			inv := &fake{impls: map[string]impl{"count": emit(t, func(n) []n { return make([]n, 40) })}}
			ctx, cancel := context.WithCancelCause(t.Context())
			stop := functions.SinkFunc(func(ctx context.Context, it functions.Item) error {
				if it.Seq == 30 { // all else has ended
					synctest.Wait()
					cancel(gone)
					return context.Cause(ctx)
				}
				return nil
			})
			_, err := compile(t, chain(call("count", "in")), numberFns()).Run(ctx, Run{Invoker: inv, In: functions.Items(item(t, n{})), Out: stop})
			if _, ok := errors.AsType[*functions.StepError](err); ok || !errors.Is(err, gone) || !strings.HasPrefix(err.Error(), "chain test: ") {
				t.Errorf("got %v, want the cause and no step", err)
			}
		})
	})
	t.Run("before the beginning", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(gone)
			inv := &fake{impls: map[string]impl{"inc": hang}}
			_, err := compile(t, chain(call("inc", "in")), numberFns()).Run(ctx, Run{Invoker: inv, In: functions.Items(item(t, n{})), Out: &collector{}})
			if !errors.Is(err, gone) {
				t.Errorf("got %v, want the cause", err)
			}
		})
	})
}

func TestRun_SinkFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		broken := errors.New("broken pipe")
		p := compile(t, chain(call("count", "in"), each("double", "count")), numberFns())
		inv := &fake{impls: map[string]impl{"count": emit(t, func(n) []n { return make([]n, 1000) }), "double": apply(t, func(v n) n { return v })}}
		out := functions.SinkFunc(func(context.Context, functions.Item) error { return broken })
		_, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{})), Out: out})
		wantStepError(t, err, "double", broken, "send the chain's output")
	})
}

func TestRun_StepTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := chain(call("count", "in"), each("double", "count"))
		c.Steps[1].Timeout = 3 * time.Second
		p := compile(t, c, numberFns())
		inv := &fake{impls: map[string]impl{
			"count":  emit(t, func(n) []n { return make([]n, 20) }),
			"double": sleep(2*time.Second, apply(t, func(v n) n { return v })),
		}}
		var out collector
		// The timeout bounds one call, not the stream: twenty calls of two seconds are well.
		if _, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{})), Out: &out}); err != nil || len(out.items) != 20 {
			t.Fatalf("got %d items, %v; want 20", len(out.items), err)
		}
		inv.impls["double"] = hang
		_, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{})), Out: &out})
		wantStepError(t, err, "double", functions.ErrTimeLimit, "the step's timeout of 3s")
	})
}

// TestRun_InvokersOwnLimit: a limit that the invoker sets is told in its words, though it ends a send of ours.
func TestRun_InvokersOwnLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(call("count", "in")), numberFns())
		for _, says := range []error{nil, fmt.Errorf("%w: 5s", functions.ErrTimeLimit)} {
			limit := fmt.Errorf("%w: 5s", functions.ErrTimeLimit)
			inv := invokerFunc(func(ctx context.Context, _ functions.Call, _ functions.Source, out functions.Sink) (functions.Timing, error) {
				ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Second, limit)
				defer cancel()
				for out.Send(ctx, item(t, n{})) == nil {
				}
				return functions.Timing{}, says
			})
			out := functions.SinkFunc(func(ctx context.Context, _ functions.Item) error {
				<-ctx.Done()
				return context.Cause(ctx)
			})
			_, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{})), Out: out})
			wantStepError(t, err, "count", functions.ErrTimeLimit, "5s")
		}
	})
}

type invokerFunc func(context.Context, functions.Call, functions.Source, functions.Sink) (functions.Timing, error)

func (f invokerFunc) Invoke(ctx context.Context, c functions.Call, in functions.Source, out functions.Sink) (functions.Timing, error) {
	return f(ctx, c, in, out)
}
func (f invokerFunc) Wake(context.Context, []functions.Ref, []functions.Ref) error { return nil }

func TestRun_InvokerPanics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log strings.Builder
		p := compile(t, chain(call("inc", "in"), call("double", "inc")), numberFns())
		inv := &fake{impls: map[string]impl{"inc": func(context.Context, functions.Item, func(functions.Item) error) error { panic("oops") }}}
		_, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{})), Out: &collector{}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		wantStepError(t, err, "inc", functions.ErrTrap, "panic: oops")
		if !strings.Contains(log.String(), "run_fail_test.go") || strings.Contains(err.Error(), "run_fail_test.go") {
			t.Errorf("the stack belongs to the log, not to the caller:\nlog %s\nerror %v", log.String(), err)
		}
	})
}

// TestRun_CELFails: a route that fails over a value is the chain's fault, not the caller's.
func TestRun_CELFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, tt := range []struct {
			places []spec.Place
			want   string
		}{
			{[]spec.Place{{Offset: 0, Line: 5, Col: 9}}, "chain test, step route: x.yaml:5:12: can't be computed: case 1: expression `10 / it.n > 1`: division by zero; test for such values before this is computed"},
			{nil, "chain test, step route: x.yaml:5:9: can't be computed: case 1: expression `10 / it.n > 1`, column 4: division by zero; test for such values before this is computed"},
		} {
			c := chain(call("inc", "in"), pick("inc", pass("10 / it.n > 1", "inc"), pass("", "in")))
			c.Steps[1].Cases[0].Pos, c.Steps[1].Cases[0].Places = "x.yaml:5:9", tt.places
			inv := &fake{impls: map[string]impl{"inc": apply(t, func(v n) n { return v })}}
			_, err := compile(t, c, numberFns()).Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{0})), Out: &collector{}})
			wantStepError(t, err, "route", functions.ErrChain, "")
			if err.Error() != tt.want {
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
			if code := functions.CodeOf(err); code != "chain" {
				t.Errorf("code %s, want chain", code)
			}
		}
	})
}
