// Command wasmtime is an arm of the benchmarks: it runs a guest under wasmtime-go, each call in an instance of its own
// that starts up first. It is a program of its own since it needs cgo.
//
//	wasmtime FILE HEX
//
// FILE is the guest, HEX its one input item. It writes "ready" when the module is compiled, and then for each line of its
// standard input, a count, so many durations in nanoseconds, and the last answer as hex.
package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/bytecodealliance/wasmtime-go/v39"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "wasmtime:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: wasmtime FILE HEX")
	}
	in, err := hex.DecodeString(args[1])
	if err != nil {
		return err
	}
	g, err := newGuest(args[0], in)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
		n, err := strconv.Atoi(orders.Text())
		if err != nil {
			return err
		}
		var took []string
		for range n {
			start := time.Now()
			if err := g.call(); err != nil {
				return err
			}
			took = append(took, strconv.FormatInt(time.Since(start).Nanoseconds(), 10))
		}
		fmt.Println(strings.Join(took, " "), hex.EncodeToString(g.out))
	}
	return nil
}

// guest is a compiled module and the item that each of its instances gets.
type guest struct {
	engine *wasmtime.Engine
	module *wasmtime.Module
	in     []byte
	out    []byte
}

func newGuest(file string, in []byte) (*guest, error) {
	wasm, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	g := &guest{engine: wasmtime.NewEngine(), in: in}
	g.module, err = wasmtime.NewModule(g.engine, wasm)
	return g, err
}

// The numbers of the ABI that are needed here; package abi has them all.
const (
	inputFD    = 16
	outputFD   = 17
	infoBytes  = 24
	recvEnd    = -2
	errnoNoSys = 52
)

// call starts an instance, makes one call and drops it.
func (g *guest) call() error {
	store := wasmtime.NewStore(g.engine)
	defer store.Close()
	wasi := wasmtime.NewWasiConfig()
	wasi.InheritStderr()
	store.SetWasi(wasi)
	linker := wasmtime.NewLinker(g.engine)
	defer linker.Close()
	if err := linker.DefineWasi(); err != nil {
		return err
	}
	if err := g.host(linker); err != nil {
		return err
	}
	instance, err := linker.Instantiate(store, g.module)
	if err != nil {
		return err
	}
	if _, err := instance.GetFunc(store, "_initialize").Call(store); err != nil {
		return err
	}
	code, err := instance.GetFunc(store, "catenary_call").Call(store, int32(inputFD), int32(outputFD))
	if err == nil && code != int32(0) {
		err = fmt.Errorf("the guest failed with code %v", code)
	}
	return err
}

// host gives an instance the imports of catenary_v1, for one item in and one out.
func (g *guest) host(linker *wasmtime.Linker) error {
	taken := false
	memory := func(c *wasmtime.Caller) []byte { return c.GetExport("memory").Memory().UnsafeData(c) }
	for name, f := range map[string]any{
		"item_recv": func(c *wasmtime.Caller, _, buf, size int32) int64 {
			if taken {
				return recvEnd
			}
			if int(size) >= len(g.in) {
				copy(memory(c)[buf:], g.in)
				taken = true
			}
			return int64(len(g.in))
		},
		"item_send": func(c *wasmtime.Caller, _, buf, size int32) int32 {
			g.out = append(g.out[:0], memory(c)[buf:buf+size]...)
			return 0
		},
		"item_info": func(c *wasmtime.Caller, _, at int32) int32 {
			clear(memory(c)[at : at+infoBytes])
			return 0
		},
		"item_mark": func(_ int32, _, _ int64) int32 { return 0 },
		"open":      func(_, _ int32) int32 { return -errnoNoSys },
		"deadline":  func() int64 { return -1 },
		"cause":     func(_, _ int32) int64 { return -1 },
		"log":       func(_, _, _ int32) {},
		"fail":      func(_, _ int32) {},
	} {
		if err := linker.FuncWrap("catenary_v1", name, f); err != nil {
			return err
		}
	}
	return nil
}
