//go:build linux

package plugin

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/sandboxtest/fixture"
)

func benchCode(b *testing.B) sandbox.Code {
	b.Helper()
	d := newDriver(b, b.TempDir(), nil)
	m := fixtureManifest(b, builds["fixture"](b))
	img, err := d.Prepare(b.Context(), &m, builds["fixture"](b))
	if err != nil {
		b.Fatal(err)
	}
	code, err := d.Load(b.Context(), img)
	if err != nil {
		b.Fatal(err)
	}
	return code
}

// BenchmarkStart starts a process that has nothing to load, until it is ready, and ends it.
func BenchmarkStart(b *testing.B) {
	code := benchCode(b)
	b.ReportAllocs()
	for b.Loop() {
		inst, err := code.New(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if err := inst.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLook looks at the memory of a process without children, as is done ten times a second in a call.
func BenchmarkLook(b *testing.B) {
	inst, err := benchCode(b).New(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer inst.Close()
	b.ReportAllocs()
	for b.Loop() {
		if inst.MemBytes() == 0 {
			b.Fatal("it has ended")
		}
	}
}

// BenchmarkCall serves a small value and resets, as a pool does.
func BenchmarkCall(b *testing.B) {
	inst, err := benchCode(b).New(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer inst.Close()
	in, err := value.Encode(fixture.In{Do: fixture.Echo, Text: "hello"})
	if err != nil {
		b.Fatal(err)
	}
	out := functions.SinkFunc(func(context.Context, functions.Item) error { return nil })
	b.ReportAllocs()
	for b.Loop() {
		if err := inst.Serve(b.Context(), functions.Items(functions.Item{Value: in}), out, newHost()); err != nil {
			b.Fatal(err)
		}
		if err := inst.Reset(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStreamItem sends items of 1 KiB through one call and back: one after the other, and as fast as they are taken.
func BenchmarkStreamItem(b *testing.B) {
	d := newDriver(b, b.TempDir(), nil)
	m := relayManifest(b)
	img, err := d.Prepare(b.Context(), &m, builds["relay"](b))
	if err != nil {
		b.Fatal(err)
	}
	code, err := d.Load(b.Context(), img)
	if err != nil {
		b.Fatal(err)
	}
	inst, err := code.New(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer inst.Close()
	it := frameItem(b, frame{Do: "echo", Text: strings.Repeat("x", 1<<10)})
	for name, ahead := range map[string]int{"round trip": 1, "flow": functions.DefaultEdgeItems} {
		b.Run(name, func(b *testing.B) {
			in, back := functions.NewStream(ahead, 0), make(chan struct{}, ahead)
			var call sync.WaitGroup
			call.Go(func() {
				err := inst.Serve(b.Context(), in, functions.SinkFunc(func(context.Context, functions.Item) error {
					back <- struct{}{}
					return nil
				}), newHost())
				if err != nil {
					b.Error(err)
				}
			})
			for range ahead - 1 {
				if err := in.Send(b.Context(), it); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := in.Send(b.Context(), it); err != nil {
					b.Fatal(err)
				}
				<-back
			}
			in.CloseSend(nil)
			for range ahead - 1 {
				<-back
			}
			call.Wait()
			if err := inst.Reset(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}
