// Command counter is a guest that tells what it has kept from earlier calls.
package main

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math/rand"
	randv2 "math/rand/v2"
	"os"
	"time"

	"github.com/catenary-run/catenary/sandbox/wasm/testdata/counter/contract"
	"github.com/catenary-run/catenary/sdk/guest"
)

var (
	calls, starts int
	started       time.Time
	// A start-up worth its capture: without an image it runs for each instance.
	words = map[int]string{}
)

func init() {
	started = time.Now()
	starts++
	for i := range 64 {
		words[i] = fmt.Sprint(i)
	}
	fmt.Fprintln(os.Stderr, "counter starts")
	guest.Serve(contract.Counter, count)
}

func main() {}

func count(_ context.Context, in contract.In) (contract.Out, error) {
	calls++
	before := time.Now()
	time.Sleep(in.Sleep)
	out := contract.Out{Calls: calls, Starts: starts, Slept: time.Since(before), Age: time.Since(started)}
	for k := range words {
		out.MapOrder += fmt.Sprint(k, " ")
	}
	var b [8]byte
	crand.Read(b[:])
	out.Randoms = []uint64{
		rand.Uint64(), randv2.Uint64(), binary.LittleEndian.Uint64(b[:]), maphash.String(maphash.MakeSeed(), "x"),
	}
	return out, nil
}
