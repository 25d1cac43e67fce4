package main

import (
	"github.com/catenary-run/catenary/gpu/worker"
	"github.com/catenary-run/catenary/sandbox/wasm"
)

// The commands below are started by the server only. Each is a process of its own, since what it runs may take its
// process along.

// confineName is the subcommand that becomes a plugin; see plugin.Confine.
const confineName = "confine"

type workerCmd struct {
	Socket   string `required:""`
	LlamaLib string
}

// Run holds the models of one device.
func (c *workerCmd) Run(e *env) error {
	return worker.Main(e.ctx, worker.Config{Socket: c.Socket, LlamaLib: c.LlamaLib, Lifeline: e.stdin, Stdout: e.stdout})
}

type prepareWasmCmd struct{}

// Run compiles and boots a module whose request is on stdin.
func (c *prepareWasmCmd) Run(e *env) error { return wasm.PrepareMain(e.ctx, e.stdin, e.stdout) }
