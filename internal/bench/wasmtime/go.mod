// The arm of the benchmarks that needs cgo is a module of its own: nothing else here does.
module github.com/catenary-run/catenary/internal/bench/wasmtime

go 1.26.8

require github.com/bytecodealliance/wasmtime-go/v39 v39.0.1
