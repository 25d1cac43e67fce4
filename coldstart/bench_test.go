package coldstart

import (
	"context"
	"sync"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
)

// BenchmarkInvoke is what the pools add to a call, with instances that take no time: one that is used again, and one
// that is replaced after each call, as a WASM instance is. The others versions that the node holds must not count.
func BenchmarkInvoke(b *testing.B) {
	for _, bb := range []struct {
		name   string
		spent  bool
		others int
	}{
		{"used again", false, 0},
		{"used once", true, 0},
		{"used once beside 200 others", true, 200},
	} {
		b.Run(bb.name, func(b *testing.B) {
			n := &node{driver: &fake{spent: bb.spent}}
			var err error
			if n.Pools, err = New(DefaultConfig(), Deps{Drivers: []sandbox.Driver{n.driver}, Manifests: n, Artifacts: n}); err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			defer wg.Wait()
			defer cancel()
			wg.Go(func() { n.Run(ctx) })
			call := func(ref functions.Ref) {
				if _, err := n.try(ctx, ref); err != nil {
					b.Fatal(err)
				}
			}
			for i := range bb.others {
				call(n.function("other"+string(rune('a'+i)), nil))
			}
			ref := n.function("speak", nil)
			call(ref)
			b.ReportAllocs()
			for b.Loop() {
				call(ref)
			}
		})
	}
}
