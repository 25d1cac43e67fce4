package wasm

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/internal/testkit"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/wasm/testdata/duplex/contract"
)

// BenchmarkRoundTrip is one item to a guest that waits for it, and back: in Go, whose goroutine waits for a descriptor
// that does not block, in Go and in C that block. What Go takes for its values is in both of its own.
func BenchmarkRoundTrip(b *testing.B) {
	b.Run("duplex Go", func(b *testing.B) {
		roundTrips(b, loadDuplex(b, nil), encodeValue(b, contract.In{Do: contract.Echo}))
	})
	b.Run("blocking Go", func(b *testing.B) {
		artifact, m := buildGuest(b, "iterator")
		contractOf(b, &m, contract.Func)
		m.Sample = encodeValue(b, contract.In{Do: contract.Echo})
		code, _ := load(b, goDriver(b, nil), &m, artifact)
		roundTrips(b, code, encodeValue(b, contract.In{Do: contract.Echo}))
	})
	b.Run("blocking C", func(b *testing.B) {
		artifact := filepath.Join(b.TempDir(), "guest.wasm")
		testkit.ClangWASM(b, "examples/functions/c/echo.c", artifact)
		wasm, err := os.ReadFile(artifact)
		check(b, err)
		side := functions.Port{Schema: &functions.Schema{}, Stream: true}
		m := functions.Manifest{Name: "c", Kind: functions.KindWASM, Artifact: functions.DigestOf(wasm), In: side, Out: side}
		code, _ := load(b, newDriver(b), &m, artifact)
		roundTrips(b, code, encodeValue(b, "first"))
	})
}

func roundTrips(b *testing.B, code sandbox.Code, item []byte) {
	in, out := make(chan functions.Item), make(chan functions.Item)
	ctx, cancel := context.WithCancel(b.Context())
	var served sync.WaitGroup
	defer served.Wait()
	defer cancel()
	inst := newInstance(b, code)
	served.Go(func() {
		inst.Serve(ctx, chanSource(in), functions.SinkFunc(func(ctx context.Context, it functions.Item) error {
			select {
			case out <- it:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}), newDuplexHost())
	})
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		in <- functions.Item{Value: item}
		<-out
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// cpuTime is what this process has used so far.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	check(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

type chanSource chan functions.Item

func (c chanSource) Recv(ctx context.Context) (functions.Item, error) {
	select {
	case it := <-c:
		return it, nil
	case <-ctx.Done():
		return functions.Item{}, context.Cause(ctx)
	}
}
