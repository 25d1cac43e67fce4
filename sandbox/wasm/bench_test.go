package wasm

import (
	"context"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sandbox/wasm/testdata/counter/contract"
)

// BenchmarkFirstCall is what a call costs that finds no instance: New, Serve and Close, for a Go guest.
func BenchmarkFirstCall(b *testing.B) {
	for _, image := range []string{"auto", "off"} {
		b.Run("image="+image, func(b *testing.B) {
			artifact, m := counter(b)
			m.Image = image
			code, _ := load(b, goDriver(b, nil), m, artifact)
			b.ReportAllocs()
			for b.Loop() {
				count(b, code, contract.In{})
			}
		})
	}
}

// BenchmarkLoad is a cold start up to the first instance: code and image from disk, in a process that has neither.
func BenchmarkLoad(b *testing.B) {
	artifact, m := counter(b)
	d := goDriver(b, nil)
	_, img := load(b, d, m, artifact)
	b.ReportAllocs()
	for b.Loop() {
		code, err := d.Load(b.Context(), img)
		if err != nil {
			b.Fatal(err)
		}
		if err := code.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReset is what a call costs that finds an instance which was reset: Serve, then Reset.
func BenchmarkReset(b *testing.B) {
	artifact, m := counter(b)
	code, _ := load(b, goDriver(b, nil), m, artifact)
	inst, err := code.New(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer inst.Close()
	v, err := value.Encode(contract.In{})
	if err != nil {
		b.Fatal(err)
	}
	sink := functions.SinkFunc(func(context.Context, functions.Item) error { return nil })
	host := discardHost()
	b.ReportAllocs()
	for b.Loop() {
		if err := inst.Serve(b.Context(), functions.Items(functions.Item{Value: v}), sink, host); err != nil {
			b.Fatal(err)
		}
		if err := inst.Reset(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(inst.MemBytes()), "kept-bytes")
}
