package rewrite

import (
	"context"
	"errors"
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
		if want := int(rounds+1) / slice; yields != want { // one for the entry
			t.Errorf("%d rounds: got %d yields, want %d", rounds, yields, want)
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
	if got := int32(fuel.Get()); yields != 4 || got != 99 { // refilled at the entry, one taken by the loop
		t.Errorf("after the yield returned: got %d yields and fuel %d", yields, got)
	}
	fuel.Set(7)
	if got := fuel.Get(); got != 7 {
		t.Errorf("the host can't set the fuel: got %d", got)
	}
}
