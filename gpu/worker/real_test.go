package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/gpuv1"
	"github.com/catenary-run/catenary/gpu/llama"
	"github.com/catenary-run/catenary/internal/testkit"
)

// TestReal_NothingStaysInTheSlots: 20 callers on four slots of the real model, some of whom go away at random. Who stays
// gets the answer that a caller alone gets, and afterwards no slot has read anything.
func TestReal_NothingStaysInTheSlots(t *testing.T) {
	links, err := os.MkdirTemp("", "links-") // a test's own folder goes before the library's last use
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(links)
	engine, err := llama.Open(llama.Config{LibDir: testkit.LlamaLib(t), LinkDir: links})
	if err != nil {
		t.Fatal(err)
	}
	svc := newService(llamaEngine{engine}, nil)
	c, stop := serveFake(t, svc)
	const slots = 4
	path := filepath.Join(testkit.Root(t), "examples", "voice", "model", "tiny-q8.gguf")
	res, err := c.Load(t.Context(), &gpuv1.LoadRequest{Id: "m", Path: path, Slots: slots})
	if err != nil || res.GetResidency().GetSlots() != slots {
		t.Fatalf("load: %v, %v", res, err)
	}
	const question = "tell me a story about a brave owl"
	alone := ask(t.Context(), t, c, request("m", question, 0))
	if alone.err != nil || alone.tokens < 5 {
		t.Fatalf("%+v", alone)
	}

	goroutines := runtime.NumGoroutine()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(3, uint64(i)))
			session := ""
			if i%2 == 0 {
				session = fmt.Sprint("session ", i)
			}
			slot := int32(i % slots)
			for range 4 {
				ctx, cancel := context.WithCancel(t.Context())
				stream := open(ctx, t, c, at(slot, session, request("m", question, 0)))
				var a answer
				for cut := rnd.IntN(2 * alone.tokens); ; cut-- {
					if cut == 0 {
						cancel()
					}
					res, err := stream.Recv()
					if err != nil {
						a.err = gpuv1.ErrorOf(ctx, err)
						break
					}
					a.text, a.finish = a.text+res.GetText(), res.GetFinish()
				}
				cancel()
				if a.finish != "" {
					if diff := cmp.Diff(a.text, alone.text); diff != "" {
						t.Errorf("caller %d (-beside others +alone)\n%s", i, diff)
					}
				} else if !errors.Is(a.err, context.Canceled) {
					t.Errorf("caller %d: %v", i, a.err)
				}
			}
			if _, err := c.Forget(t.Context(), &gpuv1.ForgetRequest{Id: "m", Slot: slot, Session: session}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	testkit.Eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
	// Park waits for those who are still on their way out; here the same without it.
	h := svc.models["m"]
	if err := h.alone(t.Context(), func() error {
		for slot := range slots {
			if s := h.seats[slot].session; s != "" {
				t.Errorf("slot %d is kept for %s", slot, s)
			}
			g, err := h.model.Start(slot, functions.Generation{Messages: []functions.Message{{Role: "user", Content: question}}})
			if err != nil {
				return err
			}
			if tokens, reused := g.Prompt(); reused != 0 || tokens == 0 {
				t.Errorf("slot %d has read %d of the prompt's %d tokens", slot, reused, tokens)
			}
			g.End()
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if _, err := c.Unload(t.Context(), &gpuv1.UnloadRequest{Id: "m"}); err != nil {
		t.Error(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
