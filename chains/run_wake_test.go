package chains

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/functions"
)

// TestRun_Wake: all that the plan can reach is asked to wake before anything has been computed.
func TestRun_Wake(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := voiceChain()
		c.Steps[1].Cases[0].Steps[0].Lazy = true
		p := compile(t, c, voiceFns())
		var inv *fake
		ready := make(chan struct{})
		inv = &fake{
			impls: voiceImpls(t, Transcript{"", 0}),
			onWake: func(ctx context.Context, fns, _ []functions.Ref) error {
				select {
				case <-time.After(time.Second): // how long all need, side by side
					if len(fns) > 1 {
						close(ready)
					}
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			},
		}
		first := inv.impls["transcribe"]
		inv.impls["transcribe"] = sleep(time.Second, func(ctx context.Context, in functions.Item, send func(functions.Item) error) error {
			if want := [][]string{{"answer", "speak", "transcribe", "llm"}}; !cmp.Equal(inv.woken(), want) {
				t.Errorf("before the first step ends, woken: %v, want %v", inv.woken(), want)
			}
			<-ready
			return first(ctx, in, send)
		})
		begin := time.Now()
		if _, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(speech(t, "?")), Out: &collector{}}); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d != time.Second {
			t.Errorf("the run took %v, want the second that wake and step share", d)
		}
		if want := [][]string{{"answer", "speak", "transcribe", "llm"}, {"sorry"}}; !cmp.Equal(inv.woken(), want) {
			t.Errorf("woken: %v, want %v: what is lazy with its branch", inv.woken(), want)
		}
	})
}

func TestRun_WakeFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log strings.Builder
		p := compile(t, chain(call("inc", "in")), numberFns())
		inv := &fake{
			impls:  map[string]impl{"inc": sleep(time.Second, apply(t, func(v n) n { return v }))},
			onWake: func(context.Context, []functions.Ref, []functions.Ref) error { return functions.ErrColdStart },
		}
		_, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{})), Out: &collector{}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil || !strings.Contains(log.String(), "start failed") {
			t.Errorf("got %v, log %q; want a run that is well and a line in the log", err, log.String())
		}
	})
}

// TestRun_WakeEndsWithTheRun: nobody waits for what is no longer needed.
func TestRun_WakeEndsWithTheRun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := compile(t, chain(call("inc", "in")), numberFns())
		inv := &fake{
			impls: map[string]impl{"inc": apply(t, func(v n) n { return v })},
			onWake: func(ctx context.Context, _, _ []functions.Ref) error {
				<-ctx.Done()
				return context.Cause(ctx)
			},
		}
		if _, err := p.Run(t.Context(), Run{Invoker: inv, In: functions.Items(item(t, n{})), Out: &collector{}}); err != nil {
			t.Fatal(err)
		}
	})
}
