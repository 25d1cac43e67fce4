// Package bare decodes with libllama and nothing around it: no engine, no slots, no checks. Benchmarks compare the engine
// with it, so it makes the same C calls in the same order, as a program would that does nothing else.
//
// A [Loop] holds a model and a context. The library must have been loaded by llama.Open before, in the same process.
// One goroutine at a time may use a Loop.
package bare

import (
	"errors"
	"fmt"

	"github.com/hybridgroup/yzma/pkg/llama"
)

// batchTokens is what the engine decodes in one call, too.
const batchTokens = 256

// Loop is a model with a number of sequences.
type Loop struct {
	model   llama.Model
	ctx     llama.Context
	memory  llama.Memory
	batch   llama.Batch
	sampler llama.Sampler
	prompt  []llama.Token
	n       int
}

// Open loads the file at path for n sequences of context tokens, each of which will read prompt tokens of text.
func Open(path string, n, context, threads int, text string, prompt int) (*Loop, error) {
	l := &Loop{n: n}
	params := llama.ModelDefaultParams()
	params.NGpuLayers = 0
	var err error
	if l.model, err = llama.ModelLoadFromFile(path, params); err != nil {
		return nil, err
	}
	cp := llama.ContextDefaultParams()
	cp.NCtx, cp.NSeqMax, cp.KVUnified = uint32(context*n), uint32(n), 0
	cp.NBatch, cp.NUbatch = batchTokens, batchTokens
	cp.NThreads, cp.NThreadsBatch = int32(threads), int32(threads)
	cp.NoPerf = 1
	if l.ctx, err = llama.InitFromModel(l.model, cp); err == nil {
		l.memory, err = llama.GetMemory(l.ctx)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	l.batch = llama.BatchInit(batchTokens, 0, 1)
	l.sampler = llama.SamplerChainInit(llama.SamplerChainDefaultParams())
	llama.SamplerChainAdd(l.sampler, llama.SamplerInitGreedy())
	words := llama.Tokenize(llama.ModelGetVocab(l.model), text, true, true)
	for i := range prompt {
		l.prompt = append(l.prompt, words[i%len(words)])
	}
	return l, nil
}

// Run has every sequence read the prompt and then decodes steps tokens of each, all sequences in one call.
func (l *Loop) Run(steps int) error {
	if err := llama.MemoryClear(l.memory, true); err != nil {
		return err
	}
	next := make([]llama.Token, l.n)
	for seq := range l.n { // a prompt in one call
		if err := l.batch.Clear(); err != nil {
			return err
		}
		for pos, token := range l.prompt {
			if err := l.batch.Add(token, llama.Pos(pos), []llama.SeqId{llama.SeqId(seq)}, pos == len(l.prompt)-1); err != nil {
				return err
			}
		}
		if err := l.decode(); err != nil {
			return err
		}
		next[seq] = llama.SamplerSample(l.sampler, l.ctx, -1)
	}
	for step := range steps - 1 {
		if err := l.batch.Clear(); err != nil {
			return err
		}
		for seq, token := range next {
			if err := l.batch.Add(token, llama.Pos(len(l.prompt)+step), []llama.SeqId{llama.SeqId(seq)}, true); err != nil {
				return err
			}
		}
		if err := l.decode(); err != nil {
			return err
		}
		for seq := range next {
			next[seq] = llama.SamplerSample(l.sampler, l.ctx, int32(seq))
		}
	}
	return nil
}

func (l *Loop) decode() error {
	code, err := llama.Decode(l.ctx, l.batch)
	if err == nil && code != 0 {
		err = fmt.Errorf("llama_decode returned %d", code)
	}
	return err
}

// Close frees what the loop holds.
func (l *Loop) Close() error {
	var errs []error
	if l.sampler != 0 {
		llama.SamplerFree(l.sampler)
	}
	if l.batch.Token != nil {
		errs = append(errs, llama.BatchFree(l.batch))
	}
	if l.ctx != 0 {
		errs = append(errs, llama.Free(l.ctx))
	}
	return errors.Join(append(errs, llama.ModelFree(l.model))...)
}
