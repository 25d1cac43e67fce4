package rewrite

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/wasm/abi"
)

// host returns a runtime with the yield and with env.add1.
func host(t testing.TB, yield func()) wazero.Runtime {
	t.Helper()
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCoreFeatures(features))
	t.Cleanup(func() { rt.Close(ctx) })
	_, err := rt.NewHostModuleBuilder(abi.FuelModule).NewFunctionBuilder().WithFunc(yield).
		Export(abi.FuelYield).Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = rt.NewHostModuleBuilder("env").NewFunctionBuilder().WithFunc(func(n int32) int32 { return n + 1 }).
		Export("add1").Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return rt
}

func mustRewrite(t testing.TB, wasm []byte, opt Options) *Module {
	t.Helper()
	m, err := Rewrite(wasm, opt)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// boot instantiates m as a driver does: data, then the start.
func boot(t testing.TB, rt wazero.Runtime, m *Module) api.Module {
	t.Helper()
	ctx := context.Background()
	in, err := rt.InstantiateWithConfig(ctx, m.Wasm, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range m.Data {
		if !in.Memory().Write(d.Offset, d.Bytes) {
			t.Fatalf("no room for data at %d", d.Offset)
		}
	}
	if m.Start != "" {
		if _, err := in.ExportedFunction(m.Start).Call(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return in
}

func TestRewrite_EveryPlaceThatNamesAFunction(t *testing.T) {
	ctx := t.Context()
	rt := host(t, func() {})
	original, err := rt.InstantiateWithConfig(ctx, everything(), wazero.NewModuleConfig().WithName("original"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := original.ExportedFunction("main").Call(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if want[0] != 7+43+7+7 {
		t.Fatalf("the original returns %d: the module is not what it should be", want[0])
	}
	m := mustRewrite(t, everything(), Options{})
	in := boot(t, rt, m)
	got, err := in.ExportedFunction("main").Call(ctx)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("main: %v -want +got\n%s", err, diff)
	}
	if b, _ := in.Memory().Read(0x20, 5); string(b) != "hello" {
		t.Errorf("data: got %q", b)
	}
	_, err = in.ExportedFunction("trap").Call(ctx)
	if err == nil || !strings.Contains(err.Error(), "m.trap") {
		t.Errorf("a trap should show the function's name: %v", err)
	}
}

func TestRewrite_Description(t *testing.T) {
	m := mustRewrite(t, everything(), Options{FuelSlice: 100})
	wasm := m.Wasm
	m.Wasm = nil
	want := &Module{
		Exports: map[string]byte{"main": 0, "tail": 0, "recurse": 0, "trap": 0, "seven": 0, "memory": 2, "counter": 3},
		Imports: []Import{{"env", "add1", KindFunc}},
		Data:    []Segment{{0x20, []byte("hello")}},
		Globals: []Global{
			{"__catenary_g0", TypeI32}, {"__catenary_g1", TypeI64}, {"__catenary_fuel", TypeI32},
		},
		Fuel: Global{"__catenary_fuel", TypeI32}, Start: "__catenary_start",
		MemMinPages: 1, MemMaxPages: 65536,
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if !bytes.Contains(wasm, []byte(yieldName)) {
		t.Error("the yield has no name in the name section")
	}
	if bytes.Contains(wasm, []byte("hello")) || bytes.Contains(wasm, []byte("ignored")) {
		t.Error("data or a custom section is left in the module")
	}
	again := rewriter{in: wasm, again: true}
	m2, err := again.rewrite()
	if err != nil {
		t.Fatal(err)
	}
	if m2.Start != "" || m2.Data != nil || m2.Exports["__catenary_start"] != KindFunc {
		t.Errorf("start or data section still there: %+v", m2)
	}
}

func TestRewrite_KeepsTheModulesPurpose(t *testing.T) {
	command := minimal(nil, onePage, vec(secExport, exported("_start", KindFunc, 0)))
	reactor := minimal(nil, onePage, vec(secExport, exported("_initialize", KindFunc, 0)))
	memory := minimal(nil, onePage, vec(secExport, exported("_start", KindMemory, 0)))
	for name, c := range map[string]struct {
		wasm             []byte
		command, reactor bool
	}{"command": {command, true, false}, "reactor": {reactor, false, true}, "no function": {memory, false, false}} {
		m := mustRewrite(t, c.wasm, Options{})
		if m.Command != c.command || m.Reactor != c.reactor {
			t.Errorf("%s: got command %v, reactor %v", name, m.Command, m.Reactor)
		}
	}
}

func TestRewrite_Uncapturable(t *testing.T) {
	table := vec(secTable, []byte{typeFuncref, 1, 1, 2})
	noPage := []byte{}
	null := []byte{opRefNull, typeFuncref}
	code := func(parts ...[]byte) []byte { return join(parts...) }
	i32 := []byte{opI32Const, 0}
	data := func(segments ...[]byte) []byte { return vec(secData, segments...) }
	passive := join([]byte{dataPassive}, text("abc"))
	elem := vec(secElement, []byte{1, 0, 1, 0})
	memoryInit := code(i32, i32, i32, []byte{opMisc, miscMemoryInit, 0, 0})
	dataDrop := []byte{opMisc, miscDataDrop, 0}
	count := vec(secDataCount)
	count = sec(secDataCount, 1)
	withData := func(c []byte, segment []byte) []byte {
		return module(vec(secType, typeVoid), vec(secFunction, []byte{0}), onePage, count, vec(secCode, body(c...)), data(segment))
	}
	imports := func(kind byte, what ...byte) []byte {
		return module(vec(secImport, join(text("env"), text("x"), []byte{kind}, what)))
	}
	for name, c := range map[string]struct {
		wasm []byte
		want string // what the reason says; empty if it can be captured
	}{
		"plain":                  {minimal(nil, onePage), ""},
		"no memory":              {minimal(nil, noPage), "no memory"},
		"two memories":           {minimal(nil, vec(secMemory, []byte{0, 1}, []byte{0, 1})), "more than one memory"},
		"table.get":              {minimal(code(i32, []byte{0x25, 0, 0x1a}), table, onePage), ""},
		"table.set":              {minimal(code(i32, null, []byte{opTableSet, 0}), table, onePage), "table.set in function 0"},
		"table.grow":             {minimal(code(null, i32, []byte{opMisc, miscTableGrow, 0, 0x1a}), table, onePage), "table.grow"},
		"table.fill":             {minimal(code(i32, null, i32, []byte{opMisc, miscTableFill, 0}), table, onePage), "table.fill"},
		"table.copy":             {minimal(code(i32, i32, i32, []byte{opMisc, miscTableCopy, 0, 0}), table, onePage), "table.copy"},
		"table.init":             {minimal(code(i32, i32, i32, []byte{opMisc, miscTableInit, 0, 0}), table, onePage, elem), "table.init"},
		"elem.drop":              {minimal([]byte{opMisc, miscElemDrop, 0}, table, onePage, elem), ""},
		"v128 that changes":      {minimal(nil, onePage, vec(secGlobal, join([]byte{typeV128, 1, opVector, opVectorConst}, make([]byte, 16), []byte{opEnd}))), "global 0"},
		"v128 that does not":     {minimal(nil, onePage, vec(secGlobal, join([]byte{typeV128, 0, opVector, opVectorConst}, make([]byte, 16), []byte{opEnd}))), ""},
		"reference":              {minimal(nil, onePage, vec(secGlobal, join([]byte{typeFuncref, 1}, null, []byte{opEnd}))), "global 0"},
		"memory imported":        {imports(KindMemory, 0, 1), "imports its memory env.x"},
		"table imported":         {imports(KindTable, typeFuncref, 0, 1), "imports the table env.x"},
		"global imported":        {imports(KindGlobal, TypeI32, 1), "imports the mutable global env.x"},
		"passive data read":      {withData(memoryInit, passive), ""},
		"passive data dropped":   {withData(dataDrop, passive), ""},
		"read and dropped":       {withData(code(memoryInit, dataDrop), passive), "drops data segment 0"},
		"active data dropped":    {withData(code(memoryInit, dataDrop), join([]byte{dataActive, opI32Const, 0, opEnd}, text("a"))), ""},
		"data at a sum":          {module(onePage, data(join([]byte{dataActive, opI32Const, 1, opI32Const, 2, opI32Add, opEnd}, text("a")))), ""},
		"data at a global":       {module(vec(secImport, join(text("env"), text("base"), []byte{KindGlobal, TypeI32, 0})), onePage, data(join([]byte{dataActive, opGlobalGet, 0, opEnd}, text("a")))), "data segment 0"},
		"data in memory by name": {module(onePage, data(join([]byte{dataExplicit, 0, opI32Const, 0, opEnd}, text("a")))), ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := mustRewrite(t, c.wasm, Options{})
			if c.want == "" && m.Uncapturable != "" || !strings.Contains(m.Uncapturable, c.want) {
				t.Errorf("got %q, want %q", m.Uncapturable, c.want)
			}
			if m.Uncapturable != "" && (m.Data != nil || m.Start != "") {
				t.Errorf("data or start taken out of a module that can't be captured: %+v", m)
			}
			if m.Fuel.Export == "" {
				t.Error("no fuel")
			}
			if name == "two memories" {
				return // wazero can't run it
			}
			if _, err := host(t, func() {}).CompileModule(t.Context(), m.Wasm); err != nil {
				t.Errorf("wazero refuses the result: %v", err)
			}
		})
	}
}

// A module that can't be captured keeps its data and its start, and both work.
func TestRewrite_UncapturableStillRuns(t *testing.T) {
	wasm := module(
		vec(secType, typeVoid), vec(secFunction, []byte{0}),
		vec(secTable, []byte{typeFuncref, 0, 1}), onePage,
		sec(secStart, 0),
		vec(secCode, body(opI32Const, 0, opRefNull, typeFuncref, opTableSet, 0,
			opI32Const, 8, opI32Const, 0x2a, 0x36, 2, 0)),
		vec(secData, join([]byte{dataActive, opI32Const, 0x20, opEnd}, text("hello"))),
	)
	m := mustRewrite(t, wasm, Options{})
	in := boot(t, host(t, func() {}), m)
	if n, _ := in.Memory().ReadUint32Le(8); n != 42 {
		t.Errorf("start did not run: got %d", n)
	}
	if b, _ := in.Memory().Read(0x20, 5); string(b) != "hello" {
		t.Errorf("data: got %q", b)
	}
}

func TestRewrite_Refused(t *testing.T) {
	wide := []byte{0x80, 0x80, 0x80, 0x80, 0x10}
	global := vec(secGlobal, []byte{TypeI32, 1, opI32Const, 0, opEnd})
	for name, c := range map[string]struct {
		wasm []byte
		want string
	}{
		"empty":                  {nil, "not WebAssembly at byte 0"},
		"text":                   {[]byte("(module)"), "not WebAssembly"},
		"component":              {[]byte("\x00asm\x0d\x00\x01\x00"), "a component"},
		"version":                {[]byte("\x00asm\x02\x00\x00\x00"), "unknown version"},
		"truncated":              {everything()[:200], "at byte"},
		"truncated section":      {module([]byte{secType, 9, 1}), "9 bytes announced where only 1 are left at byte 10"},
		"wide number":            {module(append([]byte{secType}, wide...)), "more than 32 bits at byte 9"},
		"long list":              {module(sec(secType, 0xff, 0xff, 0x03)), "a list of 65535 entries"},
		"bytes left":             {module(sec(secType, 0, 0)), "1 bytes too many in the type section"},
		"order":                  {module(onePage, vec(secType)), "the type section stands twice or too late"},
		"twice":                  {module(onePage, onePage), "twice"},
		"unknown section":        {module(sec(14)), "unknown section 14"},
		"threads":                {minimal([]byte{opAtomic, 3, 0}, onePage), "threads"},
		"shared memory":          {module(vec(secMemory, []byte{3, 1, 1})), "threads"},
		"64-bit memory":          {module(vec(secMemory, []byte{4, 1})), "wasm32"},
		"memory of nothing":      {module(vec(secMemory, []byte{1, 2, 1})), "at least 2 and at most 1"},
		"old exceptions":         {minimal([]byte{opTry, typeEmpty, opEnd}, onePage), "exnref"},
		"struct type":            {module(vec(secType, []byte{0x5f, 0})), "garbage-collected"},
		"unknown instruction":    {minimal([]byte{0xfb}, onePage), "unknown instruction 0xfb"},
		"no end":                 {module(vec(secType, typeVoid), vec(secFunction, []byte{0}), vec(secCode, sized(0, 1))), "doesn't end with end"},
		"function out of range":  {minimal([]byte{opCall, 1}, onePage), "function 1 of 1"},
		"type out of range":      {minimal([]byte{opI32Const, 0, opCallIndirect, 1, 0}, onePage), "type 1 of 1"},
		"the yield's type":       {module(vec(secType, typeI32), vec(secFunction, []byte{1})), "type 1 of 1"},
		"fuel read":              {minimal([]byte{opGlobalGet, 0, 0x1a}, onePage), "global 0 of 0"},
		"fuel set":               {minimal([]byte{opI32Const, 0, opGlobalSet, 1}, onePage, global), "global 1 of 1"},
		"fuel exported":          {minimal(nil, onePage, vec(secExport, exported("x", KindGlobal, 0))), "global 0 of 0"},
		"no code":                {module(vec(secType, typeVoid), vec(secFunction, []byte{0})), "1 functions and no code"},
		"too much code":          {module(vec(secCode, body())), "0 functions and 1 bodies"},
		"data count":             {module(onePage, sec(secDataCount, 2), vec(secData)), "2 data segments announced"},
		"data beyond the memory": {module(onePage, vec(secData, join([]byte{dataActive, opI32Const, 0x7f, opEnd}, text("a")))), "beyond the 1 pages"},
		"our import":             {module(vec(secType, typeVoid), vec(secImport, join(text(abi.FuelModule), text("yield"), []byte{KindFunc, 0}))), "the host's own"},
		"our export":             {minimal(nil, onePage, vec(secExport, exported("__catenary_fuel", KindFunc, 0))), "the host's own"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Rewrite(c.wasm, Options{})
			if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// A module with damaged names runs without them.
func TestRewrite_DamagedNames(t *testing.T) {
	wasm := append(minimal(nil, onePage), custom("name", 1, 9, 9, 9)...)
	m := mustRewrite(t, wasm, Options{})
	if bytes.Contains(m.Wasm, []byte("name")) {
		t.Error("damaged names are still there")
	}
	boot(t, host(t, func() {}), m)
}

// Every prefix of a module is refused or is a module: nothing reads beyond the end.
func TestRewrite_EveryTruncation(t *testing.T) {
	whole := everything()
	for n := range whole {
		if m, err := Rewrite(whole[:n:n], Options{}); err == nil {
			if _, err := (&rewriter{in: m.Wasm, again: true}).rewrite(); err != nil {
				t.Errorf("%d bytes: %v", n, err)
			}
		} else if !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func FuzzRewrite(f *testing.F) {
	f.Add(everything())
	f.Add(looping())
	f.Add(minimal([]byte{opMisc, miscTableSize, 0, 0x1a}, vec(secTable, []byte{typeFuncref, 0, 1}), onePage))
	f.Add(module(onePage, vec(secData, join([]byte{dataPassive}, text("abc")))))
	for i, name := range scripts(f) {
		if i%20 != 0 {
			continue
		}
		if wasm, err := os.ReadFile(strings.TrimSuffix(name, "json") + "0.wasm"); err == nil && len(wasm) < 4096 {
			f.Add(wasm)
		}
	}
	f.Fuzz(func(t *testing.T, wasm []byte) {
		m, err := Rewrite(wasm, Options{})
		if err != nil {
			if !errors.Is(err, functions.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if _, err := (&rewriter{in: m.Wasm, again: true}).rewrite(); err != nil {
			t.Fatalf("the result can't be read: %v", err)
		}
	})
}
