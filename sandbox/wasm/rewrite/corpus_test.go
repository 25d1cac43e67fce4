package rewrite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/wasm/abi"
)

// features are all that wazero can do, short of threads.
const features = api.CoreFeaturesV2 | experimental.CoreFeaturesTailCall | experimental.CoreFeaturesExtendedConst |
	experimental.CoreFeaturesExceptionHandling | experimental.CoreFeaturesTypedFunctionReferences

// TestCorpus runs the scripts of the WebAssembly specification's test suite, which come with wazero's source, twice:
// with the modules as they are and with each of them rewritten, captured state put in place as a driver does it. Every
// call must end alike. What the results should be is wazero's own test.
func TestCorpus(t *testing.T) {
	total := tally{}
	for _, file := range scripts(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			total.add(runScript(t, file))
		})
	}
	t.Logf("%+v", total)
	if total.Captured < 200 || total.Plain < 1000 || total.Calls < 20000 {
		t.Errorf("the scripts did not run: %+v", total)
	}
}

// tally counts what a script did.
type tally struct{ Captured, Plain, Refused, Calls, Traps int }

func (a *tally) add(b tally) {
	a.Captured += b.Captured
	a.Plain += b.Plain
	a.Refused += b.Refused
	a.Calls += b.Calls
	a.Traps += b.Traps
}

// scripts returns the files of the specification's scripts.
func scripts(t testing.TB) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "internal", "integration_test", "spectest")
	byName := map[string]string{} // some scripts are in two sets, in the later one with more in them
	for _, set := range []string{"v2", "tail-call", "extended-const", "exception-handling", "typed-function-references"} {
		files, err := filepath.Glob(filepath.Join(dir, set, "testdata", "*.json"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no scripts of %s: %v", set, err)
		}
		for _, f := range slices.DeleteFunc(files, slow) {
			byName[filepath.Base(f)] = f
		}
	}
	return slices.Sorted(maps.Values(byName))
}

// slow tells scripts that take long and tell nothing about rewriting. One fills the stack again and again, as
// assert_exhaustion does too. Those of vector arithmetic make thousands of calls of instructions that have one
// encoding; what has operands in the code, loads, lanes and constants, is not among them.
func slow(file string) bool {
	name := filepath.Base(file)
	arithmetic := regexp.MustCompile(`^simd_(bit_shift|bitwise|boolean|conversions|[if]\d)`)
	return name == "skip-stack-guard-page.json" || arithmetic.MatchString(name)
}

type script struct {
	Commands []struct {
		Type     string
		Line     int
		Filename string
		Name     string
		As       string
		Action   struct {
			Type, Module, Field string
			Args                []value
		}
	}
}

type value struct {
	Type     string
	LaneType string `json:"lane_type"`
	Value    any
}

// world is one of the two runs of a script.
type world struct {
	runtime wazero.Runtime
	rewrite bool
	modules map[string]api.Module
	last    api.Module
	tally   tally
}

func runScript(t *testing.T, file string) tally {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var s script
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	before, after := newWorld(t, file, false), newWorld(t, file, true)
	for i, c := range s.Commands {
		switch c.Type {
		case "module":
			name := ""
			for _, later := range s.Commands[i+1:] {
				if later.Type == "register" && (later.Name == c.Name || later.Name == "") {
					name = later.As
				}
				if later.Type == "register" || later.Type == "module" && later.Name == "" {
					break
				}
			}
			errBefore := before.load(ctx, file, c.Filename, c.Name, name)
			errAfter := after.load(ctx, file, c.Filename, c.Name, name)
			if (errBefore == nil) != (errAfter == nil) {
				t.Fatalf("line %d, %s: as it is: %v, rewritten: %v", c.Line, c.Filename, errBefore, errAfter)
			}
		case "assert_uninstantiable", "assert_unlinkable", "assert_invalid":
			if strings.HasSuffix(c.Filename, ".wat") {
				continue
			}
			errBefore := before.load(ctx, file, c.Filename, "", "")
			errAfter := after.load(ctx, file, c.Filename, "", "")
			if (c.Filename == "table.24.wasm" || c.Filename == "table.25.wasm") && strings.Contains(file, "typed-function-references") {
				continue // wazero takes ref.null for a reference to function 0, which the original doesn't have
			}
			if errBefore != nil && errAfter == nil {
				t.Fatalf("line %d, %s: only the rewritten module runs: %v", c.Line, c.Filename, errBefore)
			}
		case "action", "assert_return", "assert_trap", "assert_exception":
			if before.last == nil && c.Action.Module == "" {
				continue
			}
			got := after.act(ctx, c.Action.Type, c.Action.Module, c.Action.Field, c.Action.Args)
			want := before.act(ctx, c.Action.Type, c.Action.Module, c.Action.Field, c.Action.Args)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("line %d, %s: as it is -, rewritten +\n%s", c.Line, c.Action.Field, diff)
			}
		}
	}
	return after.tally
}

func newWorld(t *testing.T, file string, rewriting bool) *world {
	ctx := t.Context()
	w := &world{
		runtime: wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCoreFeatures(features)),
		rewrite: rewriting,
		modules: map[string]api.Module{},
	}
	t.Cleanup(func() { w.runtime.Close(context.Background()) })
	_, err := w.runtime.NewHostModuleBuilder(abi.FuelModule).NewFunctionBuilder().WithFunc(func() {}).
		Export(abi.FuelYield).Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.ReadFile(filepath.Join(filepath.Dir(file), "..", "..", "testdata", "spectest.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.runtime.InstantiateWithConfig(ctx, host, wazero.NewModuleConfig().WithName("spectest")); err != nil {
		t.Fatal(err)
	}
	return w
}

// load instantiates a module under the name that others import it by, and keeps it under its name in the script.
func (w *world) load(ctx context.Context, script, file, name, as string) error {
	wasm, err := os.ReadFile(filepath.Join(filepath.Dir(script), file))
	if err != nil {
		return err
	}
	w.last = nil
	m := &Module{Wasm: wasm}
	if w.rewrite {
		if m, err = Rewrite(wasm, Options{FuelSlice: 1000}); err != nil {
			w.tally.Refused++
			if !errors.Is(err, functions.ErrInvalid) {
				panic(err)
			}
			return err
		}
	}
	in, err := w.runtime.InstantiateWithConfig(ctx, m.Wasm, wazero.NewModuleConfig().WithName(as).WithStartFunctions())
	if err != nil {
		return err
	}
	if w.rewrite && m.Uncapturable == "" {
		w.tally.Captured++
		for _, d := range m.Data {
			if !in.Memory().Write(d.Offset, d.Bytes) {
				return fmt.Errorf("no room for data at %d", d.Offset)
			}
		}
		if m.Start != "" {
			if _, err := in.ExportedFunction(m.Start).Call(ctx); err != nil {
				return err
			}
		}
		for _, g := range m.Globals {
			if _, ok := in.ExportedGlobal(g.Export).(api.MutableGlobal); !ok {
				return fmt.Errorf("global %s can't be set", g.Export)
			}
		}
	} else {
		w.tally.Plain++
	}
	w.last = in
	w.modules[name] = in
	return nil
}

// outcome is how a call or a look at a global ended.
type outcome struct {
	Results []uint64
	Err     string
}

func (w *world) act(ctx context.Context, kind, module, field string, args []value) outcome {
	in := w.last
	if module != "" {
		in = w.modules[module]
	}
	if in == nil {
		return outcome{Err: "no module"}
	}
	if kind == "get" {
		return outcome{Results: []uint64{in.ExportedGlobal(field).Get()}}
	}
	f := in.ExportedFunction(field)
	if f == nil {
		return outcome{Err: "no function"}
	}
	var params []uint64
	for _, a := range args {
		params = append(params, a.bits()...)
	}
	w.tally.Calls++
	res, err := f.Call(ctx, params...)
	if err != nil {
		w.tally.Traps++
		first, _, _ := strings.Cut(err.Error(), "\n")
		return outcome{Err: first}
	}
	for i, t := range f.Definition().ResultTypes() {
		if t != api.ValueTypeI32 && t != api.ValueTypeI64 && t != api.ValueTypeF32 && t != api.ValueTypeF64 && t != 0x7b {
			res = slices.Clone(res)
			if i < len(res) && res[i] != 0 {
				res[i] = 1 // a reference is an address
			}
		}
	}
	return outcome{Results: res}
}

// bits returns what wazero takes for a value.
func (v value) bits() []uint64 {
	number := func(s string, size int) uint64 {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			n = 1<<(size-1) - 1 // some NaN
		}
		return n
	}
	switch v.Type {
	case "i32", "f32":
		return []uint64{number(v.Value.(string), 32)}
	case "i64", "f64":
		return []uint64{number(v.Value.(string), 64)}
	case "v128":
		lanes := v.Value.([]any)
		size := 128 / len(lanes)
		var out [2]uint64
		for i, l := range lanes {
			at := i * size
			out[at/64] |= number(l.(string), size) & (^uint64(0) >> (64 - size)) << (at % 64)
		}
		return out[:]
	default: // a reference
		if s, _ := v.Value.(string); s != "null" {
			n, _ := strconv.ParseUint(s, 10, 64)
			return []uint64{n + 1}
		}
		return []uint64{0}
	}
}
