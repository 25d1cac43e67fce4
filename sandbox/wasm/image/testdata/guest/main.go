// Command guest is a reactor that draws random numbers and counts its calls.
package main

import (
	"hash/maphash"
	"math/rand"
	randv2 "math/rand/v2"
	"time"
)

func main() {}

var (
	calls   int32
	table   = map[int]int{}
	initial = randv2.Uint64() + rand.Uint64() // so that both have been seeded before the capture
	started = time.Now()
)

func init() {
	for i := range 1000 {
		table[i] = i
	}
}

//go:wasmexport count
func count() int32 {
	calls++
	return calls
}

//go:wasmexport draw_v1
func drawV1() uint64 { return rand.Uint64() }

//go:wasmexport draw_v2
func drawV2() uint64 { return randv2.Uint64() }

//go:wasmexport draw_hash
func drawHash() uint64 { return maphash.String(maphash.MakeSeed(), "x") }

//go:wasmexport sum
func sum() int64 {
	n := int64(0)
	for _, v := range table {
		n += int64(v)
	}
	return n
}

// dirty allocates n pages and writes them.
//
//go:wasmexport dirty
func dirty(n int32) {
	kept = make([]byte, int(n)<<12)
	for i := 0; i < len(kept); i += 4096 {
		kept[i] = 1
	}
}

var kept []byte
