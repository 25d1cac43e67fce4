package main

import (
	"github.com/catenary-run/catenary/gpu/worker"
	"github.com/catenary-run/catenary/sandbox/plugin"
	"github.com/catenary-run/catenary/sandbox/wasm"
)

// The commands below are started by the server only. Each is a process of its own, since what it runs may take its
// process along.

type workerCmd struct {
	Socket   string `required:""`
	LlamaLib string
}

// Run holds the models of one device.
func (c *workerCmd) Run(e *env) error {
	return worker.Main(e.ctx, worker.Config{Socket: c.Socket, LlamaLib: c.LlamaLib, Lifeline: e.stdin, Stdout: e.stdout})
}

type confineCmd struct {
	Args []string `arg:"" passthrough:"all"`
}

// Run becomes a plugin; it returns only if it can't.
func (c *confineCmd) Run(*env) error { return plugin.Confine(c.Args) }

type prepareWasmCmd struct{}

// Run compiles and boots a module whose request is on stdin.
func (c *prepareWasmCmd) Run(e *env) error { return wasm.PrepareMain(e.ctx, e.stdin, e.stdout) }
