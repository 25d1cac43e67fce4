package coldstart

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/functions"
)

func TestHost_Generate(t *testing.T) {
	llm := functions.Ref{Name: "llm", Digest: functions.DigestOf([]byte("llm"))}
	for _, tt := range []struct {
		name, ask string
		uses      []string
		pins      []functions.Ref
		want      error
	}{
		{"declared and pinned", "llm", []string{"llm"}, []functions.Ref{llm}, nil},
		{"not declared", "other", []string{"llm"}, []functions.Ref{llm}, functions.ErrDenied},
		{"not pinned", "llm", []string{"llm"}, nil, functions.ErrNotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got error
			driver := &fake{}
			driver.onServe = func(ctx context.Context, _ *fakeInstance, _ functions.Source, _ functions.Sink, host functions.Host) error {
				_, got = host.Generate(ctx, tt.ask, functions.Generation{}) // and leaves it open
				return nil
			}
			run(t, driver, nil, func(t *testing.T, n *node) {
				ref := n.function("answer", func(m *functions.Manifest) { m.Uses.Models = tt.uses })
				_, err := n.Invoke(t.Context(), functions.Call{Ref: ref, Models: tt.pins}, functions.Items(), nil)
				if err != nil {
					t.Fatal(err)
				}
				if !errors.Is(got, tt.want) || tt.want == nil && got != nil {
					t.Errorf("got %v, want %v", got, tt.want)
				}
				if tt.want == functions.ErrDenied && !strings.Contains(got.Error(), "uses:") {
					t.Errorf("%v does not say how to declare a model", got)
				}
				var asked []functions.Ref
				if tt.want == nil {
					asked = tt.pins
				}
				if diff := cmp.Diff(asked, n.models.asked); diff != "" {
					t.Error(diff)
				}
				if n.models.open != 0 {
					t.Errorf("%d generations outlive their call", n.models.open)
				}
			})
		})
	}
}

// TestHost_Caller: a model is asked on behalf of the call's caller, with the call's priority, whatever the function says.
func TestHost_Caller(t *testing.T) {
	llm := functions.Ref{Name: "llm", Digest: functions.DigestOf([]byte("llm"))}
	models := &fakeModels{}
	h := newHost(&Pools{models: models}, &functions.Manifest{Name: "answer", Uses: functions.Uses{Models: []string{"llm"}}}, "i1",
		functions.Call{Models: []functions.Ref{llm}, Caller: "ann", Priority: functions.PriorityBatch})
	if _, err := h.Generate(t.Context(), "llm", functions.Generation{Caller: "bob", Priority: functions.PriorityInteractive}); err != nil {
		t.Fatal(err)
	}
	h.close()
	if got := models.last; got.Caller != "ann" || got.Priority != functions.PriorityBatch {
		t.Errorf("asked on behalf of %q with priority %q", got.Caller, got.Priority)
	}
}

// TestHost_GenerationsOfACall are bounded: what a call leaves open it can't wait for itself.
func TestHost_GenerationsOfACall(t *testing.T) {
	llm := functions.Ref{Name: "llm", Digest: functions.DigestOf([]byte("llm"))}
	models := &fakeModels{}
	h := newHost(&Pools{models: models}, &functions.Manifest{Name: "answer", Uses: functions.Uses{Models: []string{"llm"}}}, "i1", functions.Call{Models: []functions.Ref{llm}})
	ask := func() (functions.Tokens, error) { return h.Generate(t.Context(), "llm", functions.Generation{}) }
	var all []functions.Tokens
	for range maxGenerations {
		tokens, err := ask()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, tokens)
	}
	if _, err := ask(); !errors.Is(err, functions.ErrQueueFull) || len(models.asked) != maxGenerations {
		t.Errorf("got %v after %d, want %v", err, len(models.asked), functions.ErrQueueFull)
	}
	for range 2 { // the second time changes nothing
		all[0].Close()
	}
	for {
		if _, err := all[1].Recv(t.Context()); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // one was closed, one read to its end
		if _, err := ask(); err != nil {
			t.Error(err)
		}
	}
	if _, err := ask(); !errors.Is(err, functions.ErrQueueFull) {
		t.Errorf("got %v, want %v", err, functions.ErrQueueFull)
	}
	h.close()
	if models.open != 0 {
		t.Errorf("%d generations outlive their call", models.open)
	}
}

func TestHost_Log(t *testing.T) {
	var buf bytes.Buffer
	log := slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	h := newHost(&Pools{log: log}, &functions.Manifest{Name: "answer"}, "i1", functions.Call{Run: "r1", Step: "s1"})
	h.Log(slog.LevelWarn, "hello")
	h.Log(slog.LevelInfo, strings.Repeat("x", maxLogLine+5))
	want := "level=WARN msg=hello func=answer instance=i1 run=r1 step=s1\n" +
		"level=INFO msg=" + strings.Repeat("x", maxLogLine) + " func=answer instance=i1 run=r1 step=s1 cut_bytes=5\n"
	if diff := cmp.Diff(want, buf.String()); diff != "" {
		t.Error(diff)
	}
}
