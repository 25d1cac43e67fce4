package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sandbox/wasm/abi"
)

// plain runs a guest as wazero does by itself: its own WASI, its compilation cache, the module as it was built. It is
// the baseline at its best: no fuel, no limits, no checks.
type plain struct {
	rt  wazero.Runtime
	mod wazero.CompiledModule
	in  []byte
	out []byte

	taken map[api.Module]bool // the input, by a call that goes on
}

// newPlain compiles the module, or takes it from the cache folder.
func newPlain(ctx context.Context, file, cacheDir string) (*plain, error) {
	cache, err := wazero.NewCompilationCacheWithDir(cacheDir)
	if err != nil {
		return nil, err
	}
	p := &plain{rt: wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCompilationCache(cache).WithDebugInfoEnabled(false))}
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, p.rt); err != nil {
		return nil, err
	}
	if err := p.host(ctx); err != nil {
		return nil, err
	}
	module, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if p.mod, err = p.rt.CompileModule(ctx, module); err != nil {
		return nil, err
	}
	p.in, err = value.Encode(in{1})
	return p, err
}

// host gives the guest the imports of catenary_v1, for one item in and one out.
func (p *plain) host(ctx context.Context) error {
	i32, i64 := api.ValueTypeI32, api.ValueTypeI64
	b := p.rt.NewHostModuleBuilder(abi.Module)
	export := func(name string, params, results []api.ValueType, f api.GoModuleFunc) {
		b = b.NewFunctionBuilder().WithGoModuleFunction(f, params, results).Export(name)
	}
	p.taken = map[api.Module]bool{}
	export("item_recv", []api.ValueType{i32, i32, i32}, []api.ValueType{i64}, func(_ context.Context, m api.Module, s []uint64) {
		if p.taken[m] {
			s[0] = api.EncodeI64(abi.RecvEnd)
			return
		}
		if size := uint32(s[2]); size >= uint32(len(p.in)) {
			m.Memory().Write(uint32(s[1]), p.in)
			p.taken[m] = true
		}
		s[0] = uint64(len(p.in))
	})
	export("item_send", []api.ValueType{i32, i32, i32}, []api.ValueType{i32}, func(_ context.Context, m api.Module, s []uint64) {
		b, _ := m.Memory().Read(uint32(s[1]), uint32(s[2]))
		p.out = append(p.out[:0], b...)
		s[0] = abi.Success
	})
	export("item_info", []api.ValueType{i32, i32}, []api.ValueType{i32}, func(_ context.Context, m api.Module, s []uint64) {
		m.Memory().Write(uint32(s[1]), make([]byte, abi.InfoBytes))
		s[0] = abi.Success
	})
	export("item_mark", []api.ValueType{i32, i64, i64}, []api.ValueType{i32}, func(_ context.Context, _ api.Module, s []uint64) { s[0] = abi.Success })
	export("open", []api.ValueType{i32, i32}, []api.ValueType{i32}, func(_ context.Context, _ api.Module, s []uint64) { s[0] = api.EncodeI32(-abi.NoSys) })
	export("deadline", nil, []api.ValueType{i64}, func(_ context.Context, _ api.Module, s []uint64) { s[0] = api.EncodeI64(abi.NoDeadline) })
	export("cause", []api.ValueType{i32, i32}, []api.ValueType{i64}, func(_ context.Context, _ api.Module, s []uint64) { s[0] = api.EncodeI64(abi.RecvAgain) })
	export("log", []api.ValueType{i32, i32, i32}, nil, func(context.Context, api.Module, []uint64) {})
	export("fail", []api.ValueType{i32, i32}, nil, func(context.Context, api.Module, []uint64) {})
	_, err := b.Instantiate(ctx)
	return err
}

// start instantiates the guest and runs its start-up.
func (p *plain) start(ctx context.Context) (api.Module, error) {
	return p.rt.InstantiateModule(ctx, p.mod, wazero.NewModuleConfig().WithName("").WithStartFunctions(abi.Initialize).
		WithSysWalltime().WithSysNanotime().WithSysNanosleep().WithRandSource(rand.Reader))
}

// answer runs one call and checks what it returns.
func (p *plain) answer(ctx context.Context, m api.Module) error {
	defer delete(p.taken, m)
	res, err := m.ExportedFunction(abi.Call).Call(ctx, abi.FirstFD, abi.FirstFD+1)
	if err != nil {
		return err
	}
	var got out
	if err := value.Decode(p.out, &got); err != nil || res[0] != 0 || got.N != 2 {
		return errors.Join(fmt.Errorf("the guest answered %+v with code %d", got, res[0]), err)
	}
	return nil
}
