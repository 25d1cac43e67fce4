// Command guest is a reactor that uses much of Go's runtime in one call.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"sort"
	"strings"
	"sync"
)

func main() {}

// work returns a checksum of what goroutines, maps, panics, formatting and JSON make of n.
//
//go:wasmexport work
func work(n int32) uint32 {
	var mu sync.Mutex
	var wg sync.WaitGroup
	found := map[string]any{}
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() {
				if r := recover(); r != nil {
					mu.Lock()
					found[fmt.Sprint("panic", i)] = fmt.Sprint(r)
					mu.Unlock()
				}
			}()
			if i%7 == 0 {
				panic(errors.New(strings.Repeat("x", int(i))))
			}
			mu.Lock()
			found[fmt.Sprintf("key %03d", i)] = []float64{float64(i) / 3, float64(i * i)}
			mu.Unlock()
		}()
	}
	wg.Wait()
	text, err := json.Marshal(found)
	if err != nil {
		return 0
	}
	lines := strings.Split(string(text), ",")
	sort.Strings(lines)
	return crc32.ChecksumIEEE([]byte(strings.Join(lines, "\n")))
}
