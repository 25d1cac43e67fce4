package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu"
	"github.com/catenary-run/catenary/gpu/llama"
	"github.com/catenary-run/catenary/gpu/llama/bare"
)

const (
	batchRounds  = 15
	batchAnswer  = 48 // tokens of each answer
	batchContext = 256
	tinyModel    = "examples/voice/model/tiny-q8.gguf"
	batchAsk     = "tell me a story about a brave owl"
)

// benchBatch measures the tokens per second of several generations at once: in the engine, step by step; through the
// runtime, its worker's process and the credit of 32 tokens, as a caller has them; and in a loop over the same C calls
// with nothing around it.
func benchBatch(ctx context.Context, rec *recorder) error {
	dir, err := os.MkdirTemp("", "catenary-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	engine, err := llama.Open(llama.Config{LibDir: llamaLib, LinkDir: dir})
	if err != nil {
		return err
	}
	binary, err := buildBinary(ctx, dir, "catenary", "./cmd/catenary", "", nil)
	if err != nil {
		return err
	}
	sizes := []int{1, 4, 16}
	var arms []batchArm
	for _, n := range sizes {
		ours, prompt, stop, err := engineArm(engine, n)
		if err != nil {
			return err
		}
		defer stop()
		loop, err := bare.Open(tinyModel, n, batchContext, 1, batchAsk, prompt)
		if err != nil {
			return err
		}
		defer loop.Close()
		runtime, stop, err := runtimeArm(ctx, binary, filepath.Join(dir, fmt.Sprint(n)), n)
		if err != nil {
			return err
		}
		defer stop()
		arms = append(arms,
			batchArm{"engine", n, ours},
			batchArm{"bare loop", n, func(context.Context) error { return loop.Run(batchAnswer) }},
			batchArm{"through the runtime and its worker", n, runtime})
	}
	err = rec.rounds(2, batchRounds, func(to *recorder) error {
		for _, a := range arms {
			start := time.Now()
			if err := a.answer(ctx); err != nil {
				return fmt.Errorf("%s, %d at once: %w", a.name, a.n, err)
			}
			to.Add(fmt.Sprintf("%s, %d at once", a.name, a.n), "tokens/s", float64(a.n*batchAnswer)/time.Since(start).Seconds())
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, n := range sizes {
		for _, name := range []string{"engine", "through the runtime and its worker"} {
			rec.ratio(fmt.Sprintf("%s / bare loop, %d at once", name, n), fmt.Sprintf("%s, %d at once", name, n), fmt.Sprintf("bare loop, %d at once", n))
		}
	}
	return nil
}

// batchArm gives n answers of batchAnswer tokens, all at once.
type batchArm struct {
	name   string
	n      int
	answer func(context.Context) error
}

func batchRequest() functions.Generation {
	return functions.Generation{Messages: []functions.Message{{Role: "user", Content: batchAsk}}, MaxTokens: batchAnswer}
}

// engineArm also returns how many tokens the prompt has.
func engineArm(engine *llama.Engine, n int) (answer func(context.Context) error, prompt int, stop func(), err error) {
	m, _, err := engine.Load(tinyModel, llama.Options{Context: batchContext, Threads: 1, Slots: n})
	if err != nil {
		return nil, 0, nil, err
	}
	g, err := m.Start(0, batchRequest())
	if err != nil {
		m.Close()
		return nil, 0, nil, err
	}
	prompt, _ = g.Prompt()
	g.End()
	return func(context.Context) error {
		var gens []*llama.Generation
		for slot := range n {
			g, err := m.Start(slot, batchRequest())
			if err != nil {
				return err
			}
			defer m.Clear(slot)
			defer g.End()
			gens = append(gens, g)
		}
		for len(gens) > 0 {
			results, err := m.Step(gens)
			if err != nil {
				return err
			}
			left := gens[:0]
			for i, r := range results {
				switch r.Token.Finish {
				case "":
					left = append(left, gens[i])
				case "length":
				default:
					return errors.New("the model has ended its answer early")
				}
			}
			gens = left
		}
		return nil
	}, prompt, m.Close, nil
}

// theModel is all that a runtime is told of: one model.
type theModel struct{ spec *functions.Model }

func (m theModel) Model(context.Context, functions.Ref) (*functions.Model, error) { return m.spec, nil }

func (m theModel) ModelFile(context.Context, *functions.Model) (string, error) {
	return filepath.Abs(tinyModel)
}

func runtimeArm(ctx context.Context, binary, dir string, n int) (answer func(context.Context) error, stop func(), err error) {
	weights, err := os.ReadFile(tinyModel)
	if err != nil {
		return nil, nil, err
	}
	spec := &functions.Model{Name: "llm", Engine: "llama", File: functions.DigestOf(weights), Size: int64(len(weights)), Context: batchContext}
	lib, err := filepath.Abs(llamaLib)
	if err != nil {
		return nil, nil, err
	}
	r := gpu.New(gpu.Config{
		Command: func() *exec.Cmd { return exec.Command(binary, "worker") }, Dir: dir, LlamaLib: lib, Models: theModel{spec}, Threads: 1, Slots: n,
	})
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(running) }()
	stop = func() { cancel(); <-ended }
	one := func(ctx context.Context) error {
		tokens, err := r.Generate(ctx, spec.Ref(), batchRequest())
		if err != nil {
			return err
		}
		defer tokens.Close()
		for {
			token, err := tokens.Recv(ctx)
			if err != nil || token.Finish != "" {
				return err
			}
		}
	}
	return func(ctx context.Context) error {
		errs := make([]error, n)
		var callers sync.WaitGroup
		for i := range n {
			callers.Go(func() { errs[i] = one(ctx) })
		}
		callers.Wait()
		return errors.Join(errs...)
	}, stop, nil
}
