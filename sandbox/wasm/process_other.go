//go:build !linux

package wasm

import "os/exec"

const canMap = false

func lowerPriority() {}

func runBound(cmd *exec.Cmd) error { return cmd.Run() }
