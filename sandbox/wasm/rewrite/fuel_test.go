package rewrite

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero/api"
)

var errStop = errors.New("stopped by the yield")

func TestFuel_YieldsByCount(t *testing.T) {
	const slice = 1000
	for _, rounds := range []uint64{1, 999, 1000, 12345, 1_000_000} {
		yields := 0
		in := boot(t, host(t, func() { yields++ }), mustRewrite(t, looping(), Options{FuelSlice: slice}))
		if _, err := in.ExportedFunction("loop").Call(t.Context(), rounds); err != nil {
			t.Fatal(err)
		}
		if want := int(rounds) / slice; yields != want {
			t.Errorf("%d rounds: got %d yields, want %d", rounds, yields, want)
		}
	}
}

// TestFuel_OneCheckForEntryAndLoop: a function that comes to a loop at once has no check beside the loop's, and any other
// one has.
func TestFuel_OneCheckForEntryAndLoop(t *testing.T) {
	loop := []byte{opLoop, typeEmpty, opEnd}
	for name, tt := range map[string]struct {
		before []byte
		checks int
	}{
		"nothing before it": {nil, 1},
		"in a block":        {[]byte{opBlock, typeEmpty, opEnd}, 2},                    // what ends a block may have been jumped to
		"numbers":           {[]byte{opI32Const, 1, opI32Const, 2, opI32Add, 0x1a}, 2}, // drop is not looked at
		"a store":           {[]byte{opI32Const, 0, opI32Const, 2, 0x36, 2, 0}, 1},
		"a branch":          {[]byte{opI32Const, 0, opIf, typeEmpty, opEnd}, 2},
		"a call":            {[]byte{opI32Const, 1, opIf, typeEmpty, 0x0f, opEnd, opCall, 0}, 1}, // it returns before the loop
	} {
		checks := 0
		code := slices.Concat(tt.before, loop)
		wasm := module(vec(secType, typeVoid), vec(secFunction, []byte{0}), onePage, vec(secExport, exported("run", KindFunc, 0)), vec(secCode, body(code...)))
		in := boot(t, host(t, func() { checks++ }), mustRewrite(t, wasm, Options{FuelSlice: 1}))
		if _, err := in.ExportedFunction("run").Call(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if checks != tt.checks {
			t.Errorf("%s: %d checks, want %d", name, checks, tt.checks)
		}
	}
}

func TestFuel_DefaultSlice(t *testing.T) {
	in := boot(t, host(t, func() {}), mustRewrite(t, looping(), Options{}))
	if got := in.ExportedGlobal("__catenary_fuel").Get(); got != DefaultFuelSlice {
		t.Errorf("got %d, want %d", got, DefaultFuelSlice)
	}
}

func TestFuel_StopsWhatNeverEnds(t *testing.T) {
	for name, wasm := range map[string][]byte{"forever": looping(), "recurse": everything()} {
		t.Run(name, func(t *testing.T) {
			yields := 0
			rt := host(t, func() {
				if yields++; yields == 3 {
					panic(errStop)
				}
			})
			in := boot(t, rt, mustRewrite(t, wasm, Options{FuelSlice: 500}))
			_, err := in.ExportedFunction(name).Call(t.Context())
			if !errors.Is(err, errStop) || yields != 3 {
				t.Errorf("after %d yields: %v", yields, err)
			}
		})
	}
}

// The counter stays at the end of its slice when the yield panics, so every further check yields again: it must not
// run down through all negative numbers.
func TestFuel_AfterAPanicInTheYield(t *testing.T) {
	ctx := context.Background()
	yields, stop := 0, true
	rt := host(t, func() {
		if yields++; stop {
			panic(errStop)
		}
	})
	m := mustRewrite(t, looping(), Options{FuelSlice: 100})
	in := boot(t, rt, m)
	fuel := in.ExportedGlobal(m.Fuel.Export).(api.MutableGlobal)
	for want := 1; want <= 3; want++ {
		if _, err := in.ExportedFunction("forever").Call(ctx); !errors.Is(err, errStop) {
			t.Fatal(err)
		}
		if got := int32(fuel.Get()); yields != want || got != int32(1-want) {
			t.Fatalf("after %d calls: got %d yields and fuel %d", want, yields, got)
		}
	}
	stop = false
	if _, err := in.ExportedFunction("loop").Call(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if got := int32(fuel.Get()); yields != 4 || got != 100 { // the only check refilled it
		t.Errorf("after the yield returned: got %d yields and fuel %d", yields, got)
	}
	fuel.Set(7)
	if got := fuel.Get(); got != 7 {
		t.Errorf("the host can't set the fuel: got %d", got)
	}
}
