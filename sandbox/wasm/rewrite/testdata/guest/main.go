// Command guest is a reactor that uses much of Go's runtime in one call.
package main

import (
	"errors"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
	"sync"
)

func main() {}

// work returns a checksum of what goroutines, maps, panics, strings and fractions make of n.
//
//go:wasmexport work
func work(n int32) uint32 {
	var mu sync.Mutex
	var wg sync.WaitGroup
	found := map[string]string{}
	note := func(key, text string) {
		mu.Lock()
		defer mu.Unlock()
		found[key] = text
	}
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() {
				if err, ok := recover().(error); ok {
					note("panic"+strconv.Itoa(int(i)), err.Error())
				}
			}()
			if i%7 == 0 {
				panic(errors.New(strings.Repeat("x", int(i))))
			}
			note("key"+strconv.Itoa(int(i)), strconv.FormatFloat(float64(i)/3, 'g', -1, 64))
		}()
	}
	wg.Wait()
	var lines []string
	for key, text := range found {
		lines = append(lines, key+" "+text)
	}
	slices.Sort(lines)
	return crc32.ChecksumIEEE([]byte("work\n" + strings.Join(lines, "\n")))
}
